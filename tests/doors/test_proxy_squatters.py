"""Over the real door: a person who puts something else where their editor listens gets nothing by it, neither at once nor later."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.doors.test_proxy_websocket import join
from tests.doors.world import ADA, World
from tests.fakes.editor import raw_editor, saying
from tests.fakes.squatter import squatting

SECRET = b"not for her"
ROOTS = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n" + SECRET)
"""As Podman's socket, core's, or another person's editor."""


async def refused(w: World, token: str, path: str = "/info") -> None:
    async with w.ask("GET", w.origin() + path, token) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "not_the_editor")


async def listens_at(w: World, path: Path) -> None:
    w.core.put(w.core.notebooks[ADA], path)
    await asyncio.sleep(0.05)


def link(target: Path, name: Path) -> None:
    name.symlink_to(target)


def link_of_link(target: Path, name: Path) -> None:
    between = name.with_name("between")
    between.symlink_to(target)
    name.symlink_to(between)


@pytest.mark.parametrize("how", [link, link_of_link])
async def test_a_link_leads_nowhere(w: World, token: str, how: Callable[[Path, Path], None]) -> None:
    folder = w.folder / "hers"
    folder.mkdir()
    async with raw_editor(w.folder / "podman.sock", ROOTS):
        for target in ("podman.sock", "core.sock", "editor.sock"):
            how(w.folder / target, folder / "editor.sock")
            await listens_at(w, folder / "editor.sock")
            await refused(w, token)
            async with w.ask("POST", w.origin() + "/containers/create", token, data=b"x" * 200_000) as answer:
                assert answer.status == 503
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await join(w, token)
            assert error.value.status == 503
            for name in folder.iterdir():
                name.unlink()
    assert not w.editor.seen
    assert not w.core.calls


async def test_a_swap_behind_a_connection_that_rests_leads_nowhere(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/small", token) as answer:  # rests in the pool from here on
        assert answer.status == 200
    async with raw_editor(w.folder / "podman.sock", ROOTS):
        (w.folder / "editor.sock").rename(w.folder / "was.sock")
        (w.folder / "editor.sock").symlink_to(w.folder / "podman.sock")
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await join(w, token)  # always a connection of its own
        assert error.value.status == 503
        async with w.ask("GET", w.origin() + "/small", token) as answer:
            assert await answer.read() != SECRET
        (w.folder / "editor.sock").unlink()
        (w.folder / "was.sock").rename(w.folder / "editor.sock")


async def test_a_socket_that_is_not_the_owners_is_not_entered(w: World, token: str) -> None:
    """A hard link to another person's socket is that person's file, whatever folder it is in."""
    (w.folder / "hard.sock").hardlink_to(w.folder / "editor.sock")
    w.core.uid = os.getuid() + 1
    await listens_at(w, w.folder / "hard.sock")
    await refused(w, token)
    assert not w.editor.seen


async def test_a_connection_that_rests_is_its_owners_alone(w: World, token: str) -> None:
    async with w.ask("GET", w.origin() + "/small", token) as answer:
        assert answer.status == 200
    w.core.uid = os.getuid() + 1
    await listens_at(w, w.folder / "editor.sock")
    await refused(w, token, "/small")


@pytest.mark.real
async def test_another_uids_listener_is_not_entered(w: World, token: str, short_path: Path) -> None:
    """Somebody else listens, and the file has come to be the owner's."""
    short_path.chmod(0o777)
    async with squatting(short_path / "editor.sock", 65534):
        os.chown(short_path / "editor.sock", os.getuid(), -1)
        await listens_at(w, short_path / "editor.sock")
        await refused(w, token)
