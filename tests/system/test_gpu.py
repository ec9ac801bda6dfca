"""Cards and who has them, with the simulated driver under the unmodified library and real containers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from nbd.host.simulated.simulate import put_processes

from .jupyter import jupyter
from .real_box import Person, RealBox, podman, real_box, until

pytestmark = pytest.mark.real
SOON = '[gpus]\nrelease_within = "500ms"\n[core]\nreconcile_every = "500ms"\n'
ROOT = Person("root", 0, 0, Path("/root"))


def start(box: RealBox, name: str, *more: str) -> Mapping[str, Any]:
    view: Mapping[str, Any] = box.ask("start", name, "--profile", "gpu-1", *more)
    return view


def card_of(view: Mapping[str, Any]) -> str:
    (card,) = view["lease"]["cards"]
    return str(card)


def cards(box: RealBox) -> dict[str, dict[str, Any]]:
    return {card["uuid"]: card for card in box.ask("gpus")["cards"]}


def inside(box: RealBox, view: Mapping[str, Any], code: str) -> str:
    async def run() -> str:
        async with jupyter(box.editor_socket(view["id"])) as editor:
            return await editor.run(await editor.new_kernel(), code)

    return asyncio.run(run())


def test_a_card_each_and_then_a_line(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=4) as box:
        views = {name: start(box, name) for name in ("a", "b", "c", "d")}
        holders = {uuid: card["holders"] for uuid, card in cards(box).items()}
        assert holders == {card_of(view): [f"{ada.name}/{name}"] for name, view in views.items()}
        # Each sees one device, its own: the simulated specification calls the cards' nodes /dev/nvidia0 to 3, in their order.
        for view in views.values():
            assert inside(box, view, "import glob; print(*glob.glob('/dev/nvidia*'))") == f"/dev/nvidia{list(holders).index(card_of(view))}\n"
        assert box.ask("gpus")["simulated"]
        assert "SIMULATED GPUs" in box.nbctl("gpus").stdout
        code, machine, sentence, hint = box.refused("start", "e", "--profile", "gpu-1")
        assert (code, machine, hint) == (3, "no_capacity", "wait in line: nbctl start e --wait")
        assert sentence.startswith("0 of 4 cards fit: ")
        assert [sentence.count(f"leased by {ada.name}/{name} since ") for name in views] == [1, 1, 1, 1]
        assert {view["name"] for view in box.ask("ls")} == set(views)
        for place, name in enumerate(("e", "f"), start=1):
            start(box, name, "--wait", "--detach")
            waiting = until(lambda name=name: box.show(name)["waiting"])  # type: ignore[misc]
            assert waiting["position"] == place
        assert box.ask("gpus")["queue"] == [f"{ada.name}/e", f"{ada.name}/f"]
        box.ask("stop", "b")
        assert card_of(box.reaches("e", "RUNNING")) == card_of(views["b"])
        assert until(lambda: (waiting := box.show("f")["waiting"]) and waiting["position"] == 1)
        box.ask("stop", "f")
        assert box.ask("gpus")["queue"] == []
        assert len(box.leases()) == 4


def test_a_process_that_does_not_let_go(short_path: Path, ada: Person) -> None:
    """A lease ends only when the driver shows nothing of the notebook on the card; else nobody gets it before an admin has looked."""
    with real_box(short_path, who=ada, gpus=1, settings=SOON) as box:
        view = start(box, "main")
        pid = int(podman("inspect", "--format", "{{.State.Pid}}", view["container"]))
        file = box.folder / "simulated/gpus.txt"
        put_processes(file, card_of(view), {pid: 1 << 30})
        (process,) = cards(box)[card_of(view)]["processes"]
        assert (process["pid"], process["notebook"]) == (pid, f"{ada.name}/main")
        box.ask("stop", "main")
        assert not psutil.pid_exists(pid)
        quarantine = until(lambda: cards(box)[card_of(view)]["quarantine"])
        assert quarantine == f"processes of {ada.name}/main did not let go of it"
        code, machine, sentence, _ = box.refused("start", "--profile", "gpu-1")
        assert (code, machine) == (3, "no_capacity")
        assert sentence == f"0 of 1 card fits: GPU-51511111 is out of service: {quarantine}"
        assert box.refused("gpus", "--release", card_of(view))[0] == 3, "only an admin may"
        put_processes(file, card_of(view), {})
        released = box.ask("gpus", "--release", card_of(view)[:12], who=ROOT)
        assert released["cards"][0]["quarantine"] is None
        until(lambda: box.leases() == [])
        assert card_of(start(box, "main")) == card_of(view)


def test_a_lost_card_takes_nobody_with_it(short_path: Path, ada: Person) -> None:
    with real_box(short_path, who=ada, gpus=2) as box:
        first = start(box, "first")
        file = box.folder / "simulated/gpus.txt"
        healthy = file.read_text()
        file.write_text(healthy.replace(f"card {card_of(first)}\n", f"card {card_of(first)}\nerror * 15\n"))
        lost = until(lambda: cards(box)[card_of(first)]["quarantine"])
        assert "lost" in lost.lower()
        assert box.show("first")["state"] == "RUNNING"
        (other,) = set(cards(box)) - {card_of(first)}
        assert cards(box)[other]["quarantine"] is None
        assert card_of(start(box, "second")) == other
        code, _, sentence, _ = box.refused("start", "third", "--profile", "gpu-1")
        assert code == 3
        assert "lost" in sentence.lower()
        file.write_text(healthy)
        until(lambda: cards(box)[card_of(first)]["quarantine"] is None)


def test_a_lease_survives(short_path: Path, ada: Person) -> None:
    """kill -9 of core, and even the loss of the state file: what runs is rebuilt from its container's labels, its cards too."""
    with real_box(short_path, who=ada, gpus=2) as box:
        view = start(box, "main")
        box.kill_9("core")
        assert box.reaches("main", "RUNNING")["lease"] == view["lease"]
        box.down()
        for file in (box.folder / "state").glob("state.db*"):
            file.unlink()
        assert box.leases() == []
        box.up()
        after = box.reaches("main", "RUNNING")
        same = ("id", "owner", "name", "url", "container", "profile", "lease", "run")
        assert {key: after[key] for key in same} == {key: view[key] for key in same}
        assert box.leases() == [f"{card_of(view)} {view['id']}"]
        assert card_of(start(box, "second")) != card_of(view)
