"""Core's line to sync, which may be away for a moment, for good, or say no."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbd import config, syncer, wire
from nbd.errors import HostUnfit, InvalidInput, NbdError, NotFound, Unreachable
from nbd.host.syncclient import NotDone, SyncHomes, said
from nbd.messages import Problem, ProblemAnswer
from nbd.notebooks.model import Occupant
from nbd.places import under


async def test_a_start_waits_for_a_sync_that_comes_back(short_path: Path) -> None:
    places, stop = under(short_path), asyncio.Event()
    homes = SyncHomes(places.sync_socket, places.restore_socket)
    home = short_path / "home"
    home.mkdir()
    owner = home.stat()
    asked = asyncio.create_task(homes.ready(Occupant("ada", owner.st_uid, owner.st_gid, str(home)), print, in_use=False))
    await asyncio.sleep(0)
    assert await homes.health() != "ok"
    sync = asyncio.create_task(syncer.run(config.defaults(), places, stop))
    await asked
    assert await homes.health() == "ok"
    with pytest.raises(HostUnfit, match="does not exist"):
        await homes.ready(Occupant("ada", owner.st_uid, owner.st_gid, str(short_path / "nowhere")), print, in_use=False)
    stop.set()
    await sync


async def test_a_sync_that_stays_away_is_said(short_path: Path) -> None:
    with pytest.raises(Unreachable, match="the sync program does not answer"):
        await SyncHomes(short_path / "sync.sock", short_path / "restore.sock").ready(Occupant("ada", 1, 1, "/home/ada"), print, in_use=False)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n{\"homes\": [", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_sync_that_dies_in_its_answer_is_known_from_one_that_is_away(short_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    socket = short_path / "sync.sock"
    async with await asyncio.start_unix_server(serve, socket):
        with pytest.raises(Unreachable) as raised:
            await SyncHomes(socket, short_path / "restore.sock").briefs()
    assert raised.value.code == "broken_off"


@pytest.mark.parametrize(
    ("code", "retryable", "kind"),
    [("not_found", False, NotFound), ("ambiguous", False, InvalidInput), ("no_space", False, NotDone), ("not_saved_first", False, NotDone),
     ("store_denied", False, NotDone), ("store_away", True, Unreachable), ("internal", False, NotDone)],
)  # fmt: skip
def test_what_ended_a_restore(code: str, retryable: bool, kind: type[NbdError]) -> None:  # noqa: FBT001 - a table's
    with pytest.raises(NbdError) as raised:
        said(wire.encode(ProblemAnswer(Problem(code, "why", "what next", retryable))).encode())
    assert (type(raised.value), raised.value.code, raised.value.hint) == (kind, code, "what next")
