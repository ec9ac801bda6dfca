"""A JupyterLab is a person's program: it may say anything, and what it says must not hurt, nor count as idleness when it is nonsense."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from nbd.errors import Deadline, Unreachable
from nbd.host.editorline import BODY_BYTES, HEAD_BYTES
from nbd.host.jupyter import MOST, NAMES_EVERY, JupyterStates
from nbd.idle.model import EditorLook, KernelLook, TerminalLook
from nbd.unixdoor import Place
from tests.fakes.jupyter import Jupyter, kernel, said

TRAIN = KernelLook("k1", "train.ipynb", busy=True, last_activity=1_795_000_000.25, connections=1)
SHELL = KernelLook("k2", "python3", busy=False, last_activity=1_795_000_001.5)


class Ends:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "s"
        self.jupyter = Jupyter(EditorLook((TRAIN, SHELL)))
        self.states = JupyterStates(0.5)

    async def look(self) -> EditorLook:
        return await self.states.look(Place(str(self.path), os.geteuid()), "jupyterlab")


@pytest.fixture
async def ends(short_path: Path) -> AsyncIterator[Ends]:
    made = Ends(short_path)
    async with made.jupyter.serve(made.path):
        yield made
        await made.states.close()


async def test_one_connection_for_many_looks(ends: Ends) -> None:
    for _ in range(5):
        assert (await ends.look()).kernels == (TRAIN, SHELL)
    assert ends.jupyter.connections == 1


async def test_no_look_counts_as_activity(ends: Ends) -> None:
    await ends.look()
    assert len(ends.jupyter.asked) == 3
    assert all(path.endswith("?no_track_activity=1") for path in ends.jupyter.asked)


async def test_on_the_loop_that_core_runs_on(ends: Ends) -> None:
    async def there() -> EditorLook:
        states = JupyterStates(5.0)
        try:
            await states.look(Place(str(ends.path), os.geteuid()), "jupyterlab")
            return await states.look(Place(str(ends.path), os.geteuid()), "jupyterlab")
        finally:
            await states.close()

    assert (await asyncio.to_thread(lambda: uvloop.run(there()))).kernels == (TRAIN, SHELL)


async def test_names_are_asked_for_when_they_may_be_new(ends: Ends) -> None:
    for _ in range(2 * NAMES_EVERY):
        await ends.look()
    assert len([path for path in ends.jupyter.asked if "sessions" in path]) == 2
    ends.jupyter.look = EditorLook((KernelLook("k9", "other.ipynb", busy=False, last_activity=1.0),))
    assert (await ends.look()).kernels[0].name == "other.ipynb"


async def test_an_editor_that_started_anew_is_asked_anew(ends: Ends) -> None:
    await ends.look()
    ends.jupyter.hang_up()
    assert (await ends.look()).kernels == (TRAIN, SHELL)
    assert ends.jupyter.connections == 2


async def test_one_that_ends_each_connection_after_two_answers(ends: Ends) -> None:
    ends.jupyter.ends_after = 2
    ends.jupyter.look = EditorLook()
    for _ in range(3):
        assert await ends.look() == EditorLook()


async def test_one_without_terminals(ends: Ends) -> None:
    ends.jupyter.terminals = False
    assert (await ends.look()).kernels == (TRAIN, SHELL)


async def test_one_without_documents_is_called_as_its_kernel(ends: Ends) -> None:
    ends.jupyter.answers["sessions"] = said(b"", 500)
    assert [one.name for one in (await ends.look()).kernels] == ["python3", "python3"]


async def test_names_are_one_line_of_text(ends: Ends) -> None:
    name = "\x1b]0;pwned\x07\r\n\u202e" + "x" * 200
    ends.jupyter.answers["kernels"] = said(json.dumps([kernel(SHELL) | {"name": name}]).encode())
    (found,) = (await ends.look()).kernels
    assert found.name.isprintable()
    assert len(found.name) <= 80


def one_kernel(**other: Any) -> bytes:
    return said(json.dumps([kernel(TRAIN) | other]).encode())


HOSTILE = {
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n[]",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 9\r\n\r\n[]",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEAD_BYTES,
    "too large": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1),
    "refused": said(b"{}", 403),
    "no JSON": said(b"<html>"),
    "no UTF-8": said(b'[{"id": "\xff"}]'),
    "deep": said(b"[" * 100_000),
    "an object": said(b'{"id": "k"}'),
    "no objects": said(b"[1, 2]"),
    "nothing": said(b""),
    "too many": said(json.dumps([kernel(TRAIN)] * (MOST + 1)).encode()),
    "a number that is none": said(b'[{"id": "k", "name": "n", "connections": NaN}]'),
    "connections as text": one_kernel(connections="1"),
    "connections below zero": one_kernel(connections=-1),
    "connections that are true": one_kernel(connections=True),
    "no id": one_kernel(id=None),
    "a name that is a list": one_kernel(name=[]),
    "no state": one_kernel(execution_state=None),
    "no moment": one_kernel(last_activity=None),
    "a moment of no calendar": one_kernel(last_activity="2026-13-77T99:00:00Z"),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=list(HOSTILE))
async def test_nonsense_is_refused_and_the_next_look_is_well(ends: Ends, answer: bytes) -> None:
    ends.jupyter.answers["kernels"] = answer
    with pytest.raises(Unreachable) as caught:
        await ends.look()
    assert not isinstance(caught.value, Deadline)
    ends.jupyter.answers.clear()
    assert (await ends.look()).kernels == (TRAIN, SHELL)


@pytest.mark.parametrize("answer", [one_kernel(), said(b"[{}]"), said(b'[{"kernel": {"id": 1}, "name": "n"}]')], ids=["a kernel", "empty", "no id"])
async def test_nonsense_about_documents_is_refused(ends: Ends, answer: bytes) -> None:
    ends.jupyter.answers["sessions"] = answer
    with pytest.raises(Unreachable):
        await ends.look()


async def test_what_nobody_asked_for_is_not_the_next_answer(ends: Ends) -> None:
    ends.jupyter.look = EditorLook((), (TerminalLook("1", 5.0),))
    await ends.look()
    forged = said(json.dumps([kernel(TRAIN)]).encode())
    ends.jupyter.answers["terminals"] = said(b"[]") + forged
    assert await ends.look() == EditorLook()
    ends.jupyter.answers.clear()
    assert await ends.look() == EditorLook((), (TerminalLook("1", 5.0),))


async def test_who_answers_a_piece_at_a_time_is_understood(ends: Ends) -> None:
    ends.jupyter.look = EditorLook()
    ends.jupyter.answers["kernels"], ends.jupyter.answers["terminals"] = said(b"["), b"]" + said(b"[]")
    ends.jupyter.answers["kernels"] = ends.jupyter.answers["kernels"].replace(b"Length: 1", b"Length: 2")
    assert await ends.look() == EditorLook()


async def test_one_that_is_silent_holds_up_nobody(ends: Ends) -> None:
    ends.jupyter.holds = True
    with pytest.raises(Deadline):
        await ends.look()
    ends.jupyter.holds = False
    assert (await ends.look()).kernels == (TRAIN, SHELL)


async def test_many_at_once(ends: Ends) -> None:
    looks = await asyncio.gather(*(ends.look() for _ in range(20)))
    assert {look.kernels for look in looks} == {(TRAIN, SHELL)}


async def test_another_persons_editor_is_not_asked(ends: Ends) -> None:
    with pytest.raises(Unreachable) as caught:
        await ends.states.look(Place(str(ends.path), os.geteuid() + 1), "jupyterlab")
    assert caught.value.code == "not_the_editor"
    assert ends.jupyter.asked == []


async def test_an_editor_of_another_kind_is_not_asked(ends: Ends) -> None:
    with pytest.raises(Unreachable):
        await ends.states.look(Place(str(ends.path), os.geteuid()), "vscode")
    assert ends.jupyter.asked == []
