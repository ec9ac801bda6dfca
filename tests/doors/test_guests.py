"""How many may be connected to core at once: one person's thousands must not take everybody's descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nbd.api.guests import Gate, Guests, Peer, Room, peer_of
from nbd.api.server import Server, listening_socket
from tests.doors.api_world import PEOPLE, UIDS, ApiWorld, Caller, connected
from tests.services.household import Household

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another's uid")


@asynccontextmanager
async def small_house(folder: Path, room: Room) -> AsyncIterator[ApiWorld]:
    world = ApiWorld(folder, Household(), UIDS["door"])
    world.server = Server(world.routes, world.gatekeeper, room)
    await world.house.manager.reconcile()
    await world.server.listen(listening_socket(world.socket, None, 0o666))
    try:
        yield world
    finally:
        await world.close()


async def shut_out(sock: socket.socket) -> bool:
    """Whether core closed it without a word; one that is let in is answered."""
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    try:
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: nbd\r\n\r\n")
        async with asyncio.timeout(10):
            return await reader.readline() == b""
    except ConnectionError:
        return True
    finally:
        if not writer.is_closing():
            HELD.append(writer)


HELD: list[asyncio.StreamWriter] = []


@root
async def test_one_persons_connections_leave_room_for_the_others(short_path: Path) -> None:
    async with small_house(short_path, Room(per_uid=3, in_all=5)) as world:
        assert [await shut_out(connected(world.socket, UIDS["eve"])) for _ in range(5)] == [False, False, False, True, True]
        assert (await Caller(world.socket, UIDS["ada"]).ask("GET", "/v1/status")).status == 200
        assert [await shut_out(connected(world.socket, UIDS["ada"])) for _ in range(3)] == [False, False, True], "the house is full"
        world.accounts.people[0] = PEOPLE[UIDS["boss"]]
        assert (await Caller(world.socket, 0).ask("GET", "/v1/status")).status == 200, "root comes in to mend it"
        while HELD:
            HELD.pop().close()
        async with asyncio.timeout(10):
            while await shut_out(connected(world.socket, UIDS["eve"])):
                await asyncio.sleep(0.01)
        HELD.pop().close()


def test_who_goes_makes_room() -> None:
    guests, first, second = Guests(Room(per_uid=1, in_all=9)), asyncio.Protocol(), asyncio.Protocol()
    assert guests.came(first, Peer(1))
    assert not guests.came(second, Peer(1))
    guests.went(second)
    assert not guests.came(second, Peer(1)), "who was not let in leaves nothing"
    guests.went(first)
    assert guests.came(second, Peer(1))
    assert guests.peer(second) == Peer(1)
    assert guests.peer(first) is None


def test_only_a_unix_socket_says_who_it_is() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there, socket.socket() as network:
        assert peer_of(here) == Peer(os.geteuid())
        assert peer_of(network) is None
        assert peer_of(None) is None


def test_a_gate_without_a_guest_passes_nothing_on() -> None:
    gate = Gate(Guests(Room()), asyncio.Protocol)
    gate.data_received(b"x")
    assert gate.eof_received() is None
    gate.connection_lost(None)
