"""A short program run in a notebook's container, as its person, through Podman: bounded in time and output, and nothing of it stays.

It gets what the notebook's own processes have and no more: the person's ids, no capability, no new privileges. Podman has no call to end such a
program, so whatever it starts carries a mark in its environment, by which it is found and killed, also where it has left its parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Deadline, NbdError, Unreachable
from . import unixhttp
from .blocking import in_thread
from .podman import API_VERSION, SHORT_SECONDS, Call, Podman, parsed, understood
from .processes import KernelProcesses

log = logging.getLogger(__name__)

HEAD = struct.Struct(">BxxxI")
"""Before each piece of output: which stream (1 or 2), and how long."""
OUT, ERR = 1, 2
RAW_BYTES, ROOM_BYTES = 64 << 10, 8 << 10
"""Of all pieces with their heads (who prints byte by byte has eight more for each), and what is read beyond that, Podman's own head first."""
MARK = "NBD_EXEC"
END_SECONDS = 5.0
POLL_SECONDS, LONGEST_POLL_SECONDS = 0.01, 0.3


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: bytes
    err: bytes


class PodmanExecs:
    def __init__(self, podman: Podman, socket: str, processes: KernelProcesses, proc: Path = Path("/proc")) -> None:
        self._podman = podman
        self._socket = socket
        self._processes = processes
        self._proc = proc

    async def run(self, container: str, argv: Sequence[str], seconds: float, most: int) -> Said:
        """To its end. Raises Deadline, Unreachable(said_too_much) beyond `most` bytes of output, NotFound, Conflict, HostUnfit: in the first two
        cases what it was has been killed."""
        mark = secrets.token_hex(8)
        body = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True, "Env": [f"{MARK}={mark}"]}
        try:
            async with asyncio.timeout(seconds):
                answer = await self._podman.ask(Call("POST", f"/containers/{container}/exec", body=body, seconds=SHORT_SECONDS))
                with understood():
                    session = str(answer["Id"])
        except TimeoutError:
            raise Deadline(f"{argv[0]} was not started within {seconds:g} s") from None
        try:
            async with asyncio.timeout(seconds):
                out, err = await self._output(session, most)
                return Said(await self._ended(session), out, err)
        except TimeoutError:
            await self._clear(container, session, mark)
            raise Deadline(f"{argv[0]} did not end within {seconds:g} s") from None
        except BaseException:
            await self._clear(container, session, mark)
            raise

    async def _output(self, session: str, most: int) -> tuple[bytes, bytes]:
        path = f"/v{API_VERSION}/libpod/exec/{session}/start"
        try:
            answer = await unixhttp.ask(self._socket, "POST", path, b'{"Detach": false, "Tty": false}', RAW_BYTES + ROOM_BYTES)
        except OSError as error:
            raise Unreachable(f"Podman cannot be reached at {self._socket}: {error.strerror}") from None
        if answer.status >= 400:
            parsed(answer.status, answer.body)
        out, err = streams(answer.body)
        if len(out) + len(err) > most or len(answer.body) > RAW_BYTES:
            raise Unreachable(f"it said more than {most} bytes", code="said_too_much", retryable=False)
        return out, err

    async def _ended(self, session: str) -> int:
        """Its exit code: Podman knows it a moment after the last output."""
        wait = POLL_SECONDS
        while (code := await self._code(session)) is None:
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_POLL_SECONDS)
        return code

    async def _code(self, session: str) -> int | None:
        """None while it runs."""
        answer = await self._podman.ask(Call("GET", f"/exec/{session}/json", seconds=SHORT_SECONDS))
        with understood():
            return None if answer["Running"] else int(answer["ExitCode"])

    async def _clear(self, container: str, session: str, mark: str) -> None:
        """Kill what is left of it, and what comes of a start that is still under way."""
        try:
            async with asyncio.timeout(END_SECONDS):
                wait = POLL_SECONDS
                while await in_thread("exec", lambda: self._kill(container, mark)) or await self._code(session) is None:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LONGEST_POLL_SECONDS)
        except (TimeoutError, NbdError) as error:
            log.warning("a program of nbd's may still run in container %s: %s", container[:12], error)

    def _kill(self, container: str, mark: str) -> bool:
        """Whether there was any."""
        found = False
        for pid in self._processes.of_container(container):
            try:
                held = os.pidfd_open(pid)
            except OSError:
                continue
            try:
                # Held first: what is asked now is asked of the very process that is killed.
                if self._marked(pid, mark) and self._processes.belongs(pid, container):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    found = True
            except ProcessLookupError:
                continue
            finally:
                os.close(held)
        return found

    def _marked(self, pid: int, mark: str) -> bool:
        try:
            return f"{MARK}={mark}".encode() in (self._proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def streams(data: bytes) -> tuple[bytes, bytes]:
    """The two streams of what Podman sends, a cut last piece as far as it came. Raises Unreachable for what is not such pieces."""
    found = {OUT: bytearray(), ERR: bytearray()}
    position = 0
    while position + HEAD.size <= len(data):
        stream, length = HEAD.unpack_from(data, position)
        if stream not in found:
            raise Unreachable("Podman's stream of output is not understood")
        position += HEAD.size
        found[stream] += data[position : position + length]
        position += length
    return bytes(found[OUT]), bytes(found[ERR])
