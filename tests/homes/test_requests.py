"""How many requests a saved file costs, counted at the store."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.object_store import MemoryStore

from .world import World

MOST = 4


async def test_a_saved_file_costs_four_requests(tmp_path: Path) -> None:
    world = await World.make(tmp_path, store := MemoryStore())
    for number in range(50):
        folder = world.home / f"a{number % 7}/b{number}"
        folder.mkdir(parents=True)
        (folder / "file").write_text(str(number))
    await world.snap()
    for number in range(40):
        (world.home / "a3/b3/file").write_text(f"saved {number}")
        store.calls.clear()
        assert (await world.snap(b"a3/b3")).changed
        assert [(what, key.partition("/")[0]) for what, key in store.calls] == [
            ("create", "data"), ("create", "index"), ("create", "snapshots"), ("replace", "latest")
        ]  # fmt: skip
        assert len(store.calls) <= MOST
    store.calls.clear()
    assert not (await world.snap()).changed
    assert store.calls == []


async def test_many_indexes_become_one(tmp_path: Path) -> None:
    world = await World.make(tmp_path)
    for number in range(60):
        (world.home / "file").write_text(f"saved {number}")
        report = await world.snap()
        assert len(world.repository.root.indexes) <= 20
    await world.restore(report, tmp_path / "back")
    assert (tmp_path / "back/file").read_text() == "saved 59"
