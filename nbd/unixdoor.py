"""The one way to an editor's socket, for core and for the web program alike.

The socket lies in a folder that belongs to a person, who can put anything under its name at any moment: a link to another person's editor, to
core's own socket or Podman's, a hard link, a pipe. Both programs that connect may enter where the person may not, so a path alone must never
lead them. What is connected to is the very file that was looked at (it is held open meanwhile, so no rename comes between), that file is a
socket of the person's, and whoever listens behind it runs as the person. What a person listens on themselves is theirs to offer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from typing import NamedTuple

from .errors import Unreachable

FULL_SECONDS = 0.02
"""How long to wait before asking again where more callers wait than the listener's queue holds."""
CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


class Place(NamedTuple):
    """Where an editor listens, and as whom."""

    path: str
    uid: int


async def connect(place: Place) -> socket.socket:
    """A connected socket, the caller's to close. Raises OSError while nobody listens, Unreachable(not_the_editor) for what is not the
    person's. The deadline is the caller's."""
    while True:
        try:
            return connected(place)
        except BlockingIOError:
            await asyncio.sleep(FULL_SECONDS)


def connected(place: Place) -> socket.socket:
    """Does not block: raises BlockingIOError where the listener's queue is full."""
    found = held(place.path)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != place.uid:
            raise not_the_editor(place)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # Not the path again: this leads to the file that is held, whatever its name has become, and is short enough for any depth.
            door.connect(f"/proc/self/fd/{found}")
            check_listener(door, place)
        except BaseException:
            door.close()
            raise
        return door
    finally:
        os.close(found)


def held(path: str) -> int:
    """A descriptor of what is at `path`, opened for nothing. A link is held itself, not followed."""
    above, _, name = path.rpartition("/")
    folder = os.open(above or "/", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def check_listener(door: socket.socket, place: Place) -> None:
    """The kernel remembers who called listen()."""
    _, uid, _ = CREDENTIALS.unpack(door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    if uid != place.uid:
        raise not_the_editor(place)


def not_the_editor(place: Place) -> Unreachable:
    hint = "somebody put something else in its place: stop the notebook and start it again"
    return Unreachable(f"what is at {place.path} is not the editor of its owner (uid {place.uid})", hint=hint, code="not_the_editor")
