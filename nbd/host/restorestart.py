"""Starts the child of a restore as the person: their uid and groups, no other right, none to be gained, nothing of core's in its hands."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from typing import Any

from ..errors import HostUnfit, Unreachable
from ..notebooks.model import Occupant
from .blocking import Blocking
from .children import end_with_parent

PR_SET_NO_NEW_PRIVS = 38
"""prctl(2)."""
CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
MOST_LINE = 4 << 20
SILENCE = 90.0
"""It prints something each few seconds, if only an empty line; sync gives up on it sooner, and says why."""


async def start(who: Occupant, folder: str, connection: socket.socket) -> asyncio.subprocess.Process:
    """`connection` becomes its standard input. What it prints is the person's word."""
    return await spawn(who, ("nbd.host.restore_child", folder), connection)


async def start_in(who: Occupant, folder: int, connection: socket.socket) -> asyncio.subprocess.Process:
    """The same for attached data: the folder is a descriptor, for the way to it is closed to them."""
    return await spawn(who, ("nbd.host.attached_child", str(folder)), connection, (folder,))


async def spawn(who: Occupant, module: tuple[str, str], connection: socket.socket, handed: tuple[int, ...] = ()) -> asyncio.subprocess.Process:
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        groups = await Blocking(1).run("the account database", 5.0, lambda: os.getgrouplist(who.name, who.gid))
        identity = {"user": who.uid, "group": who.gid, "extra_groups": groups}
    connection.setblocking(True)  # noqa: FBT003 - the standard library's signature
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", *module, pass_fds=handed,
            stdin=connection.fileno(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=MOST_LINE,
            cwd="/", env={"PATH": "/usr/bin:/bin", "PYTHONPATH": CHECKOUT, "HOME": who.home, "LC_ALL": "C.UTF-8"}, umask=0o077,
            preexec_fn=no_more_rights, start_new_session=True, **identity,
        )  # fmt: skip
    except OSError as error:
        message = f"no process of {who.name} can be started: {error.strerror}"
        raise HostUnfit(message, hint=f"everybody must be able to read nbd's own files: look at {sys.executable} and {CHECKOUT}") from None


async def next_line(child: asyncio.subprocess.Process, silence: float = SILENCE) -> bytes:
    """What it says next; empty when it has ended. Raises Unreachable where it says nothing for so long: a person can stop their own process, and with
    it would go one of the few places that there are."""
    assert child.stdout
    line = b"\n"
    while line == b"\n":
        try:
            async with asyncio.timeout(silence):
                line = await child.stdout.readline()
        except TimeoutError:
            message = f"it was broken off: the process that writes ({child.pid}) says nothing any more"
            raise Unreachable(message, code="broken_off", hint="nothing half-written has its name; try it again: it goes on") from None
    return line


def no_more_rights() -> None:
    end_with_parent()
    if ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs was refused")
