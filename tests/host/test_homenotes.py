"""Notes on the box: durable, one a person whatever they are called, and never guessed; and the name of the box itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbd.errors import StateUnusable
from nbd.homes.model import HomeNote
from nbd.host.homenotes import NoteFiles, box_of

NAMES = ["ada", "..", ".", "a/b", "%2F", "Ärger", "DOM\\ada", "a.json", "x" * 32]


async def test_what_was_noted_is_there_after_a_restart(tmp_path: Path) -> None:
    notes = NoteFiles(tmp_path / "homes")
    assert await notes.people() == []
    for number, name in enumerate(NAMES):
        assert await notes.read(name) == HomeNote()
        await notes.change(name, accepted=number + 1, damages=(name,))
    again = NoteFiles(tmp_path / "homes")
    assert await again.people() == sorted(NAMES)
    for number, name in enumerate(NAMES):
        assert await again.read(name) == HomeNote(accepted=number + 1, damages=(name,))
    assert not (tmp_path / "b.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["homes"]


async def test_two_changes_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    notes = NoteFiles(tmp_path / "homes")
    await asyncio.gather(notes.change("ada", bringing="ab"), notes.change("ada", told="cd"), notes.change("ada", pruned=5))
    assert await NoteFiles(tmp_path / "homes").read("ada") == HomeNote(bringing="ab", told="cd", pruned=5)


async def test_a_note_that_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    notes = NoteFiles(tmp_path / "homes")
    await notes.change("ada", bringing="ab")
    file = tmp_path / "homes/ada.json"
    for text in ("", "{", "[]", '{"bringing": 5}'):
        file.write_text(text)
        with pytest.raises(StateUnusable, match="is not what sync wrote"):
            await NoteFiles(tmp_path / "homes").read("ada")


async def test_a_newer_nbd_may_have_noted_more(tmp_path: Path) -> None:
    (tmp_path / "ada.json").write_text('{"bringing": "ab", "weather": "fine"}')
    assert await NoteFiles(tmp_path).read("ada") == HomeNote(bringing="ab")


def test_a_box_keeps_its_name_until_it_is_another(tmp_path: Path) -> None:
    machine, file = tmp_path / "machine-id", tmp_path / "box"
    machine.write_text("aa\n")
    name = box_of(file, machine)
    assert box_of(file, machine) == name
    assert "aa" not in file.read_text().split()
    machine.write_text("bb\n")
    copied = box_of(file, machine)
    assert copied != name
    assert box_of(file, machine) == copied
    machine.unlink()
    assert box_of(file, machine) != copied
    assert box_of(file, machine) == box_of(file, machine)
