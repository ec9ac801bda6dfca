"""Who is connected to core's socket: the kernel's word, taken once when a peer comes in; and how many of one person may be.

Everybody on the box may connect. A connection costs core a descriptor, and without any left core can neither ask Podman nor run nft: so a
person has room for PER_UID, all together for IN_ALL, and one too many is closed before a byte of it is read. Root mends things and comes in always.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

PEER = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""
ROOT = 0


@dataclass(frozen=True, slots=True)
class Peer:
    uid: int
    foreign_root: bool = False
    """Root of another user namespace."""


@dataclass(frozen=True, slots=True)
class Room:
    per_uid: int = 64
    """The web program is the one with the most: one for its events, one for each request of a browser under way that needs core."""
    in_all: int = 512


class Guests:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._here: dict[asyncio.Protocol, Peer] = {}
        self._counts: Counter[int] = Counter()

    def peer(self, protocol: object) -> Peer | None:
        """Who is behind a connection; None when it is gone or was never let in."""
        return self._here.get(protocol)  # type: ignore[call-overload, no-any-return]

    def came(self, protocol: asyncio.Protocol, peer: Peer) -> bool:
        """Whether there is room."""
        full = self._counts[peer.uid] >= self._room.per_uid or len(self._here) >= self._room.in_all
        if full and peer.uid != ROOT:
            return False
        self._here[protocol] = peer
        self._counts[peer.uid] += 1
        return True

    def went(self, protocol: asyncio.Protocol) -> None:
        peer = self._here.pop(protocol, None)
        if peer is not None:
            self._counts[peer.uid] -= 1
            if not self._counts[peer.uid]:
                del self._counts[peer.uid]


class Gate(asyncio.Protocol):
    """Stands before the protocol that `make` gives, and makes it only for who has room."""

    def __init__(self, guests: Guests, make: Callable[[], asyncio.Protocol]) -> None:
        self._guests = guests
        self._make = make
        self._inner: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer, inner = peer_of(transport.get_extra_info("socket")), self._make()
        if peer is not None and not self._guests.came(inner, peer):
            transport.abort()
            return
        self._inner = inner
        inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner:
            self._guests.went(self._inner)
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner:
            self._inner.resume_writing()


def peer_of(sock: socket.socket | None) -> Peer | None:
    """None for a socket that does not say who is at its other end."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return Peer(uid, foreign_root=uid == ROOT and not same_user_namespace(pid))


def same_user_namespace(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116 - a magic link
    except OSError:
        return True  # The peer has ended; its uid was the kernel's word at connect time.
