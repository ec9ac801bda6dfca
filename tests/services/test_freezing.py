"""Freezing and thawing in their order, what each failure leaves, and what is found after a kill at any step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, NoCapacity
from nbd.notebooks.model import Notebook, State, Want
from nbd.notebooks.ports import Process
from nbd.notebooks.rest.freeze_plan import TRIES, Outcome
from nbd.notebooks.rest.freezing import CONNECTED_TRIES, Freezing, Surroundings
from nbd.notebooks.roster import Roster
from nbd.notebooks.spec import ContainerSpec
from tests.fakes.freezer import GIB, FakeFreezer
from tests.fakes.machine import Box, FakeContainers, FakeMachine, Image, MemoryStore

SPEC = ContainerSpec(
    name="nbd-n1", hostname="x", image="i", command=("jupyter",), env={}, uid=1000, gid=1000, work_dir="/", labels={"io.nbd.instance": "/test"},
    binds=(), tmpfs={}, devices=(), memory_bytes=1, shm_bytes=1, cpus=1.0, pids=1, open_files=1, processes=1, network=None, log_path="/x",
)  # fmt: skip
ROW = Notebook("n1", "main", "ada", "cpu", "jupyterlab", 0.0, State.RUNNING, Want.RUNNING, container="c1", run=1)
FREEZE = ["hang up", "save home", "checkpoint", "release"]
THAW = ["lay out", "lease", "restore", "answers"]


@dataclass
class World:
    machine: FakeMachine = field(default_factory=lambda: FakeMachine(images={"i": Image()}))
    troubles: dict[str, NbdError] = field(default_factory=dict)
    """What a step ends in."""
    cards: tuple[str, ...] = ()
    saves_cards: bool = False

    def __post_init__(self) -> None:
        self.machine.boxes["c1"] = Box(SPEC, pid=7, state="running")
        self.store = MemoryStore()
        self.store.rows["n1"] = ROW
        self.freezer = FakeFreezer(self.machine)

    async def build(self) -> Freezing:
        """As after a restart of core."""
        roster = Roster(self.store)
        await roster.load()
        self.roster = roster
        around = Surroundings(
            self.step("hang up"), self.step("let in"), self.step("save home"), self.step("release"), self.step("lay out"), self.step("lease"),
            self.answers, lambda notebook: self.cards,
        )  # fmt: skip
        return Freezing(roster, FakeContainers(self.machine, "/test"), self.freezer, around, saves_cards=self.saves_cards)

    def step(self, name: str) -> Callable[[str], Awaitable[None]]:
        async def done(notebook: str) -> None:
            assert notebook == "n1"
            self.machine.calls.append(name)
            if name in self.troubles:
                raise self.troubles[name]

        return done

    async def answers(self, notebook: str, process: Process) -> None:
        assert process.pid == self.machine.boxes["c1"].pid
        await self.step("answers")(notebook)

    @property
    def steps(self) -> list[str]:
        return [call for call in self.machine.calls if call != "process"]


@pytest.fixture
def world() -> World:
    return World()


async def test_there_and_back(world: World) -> None:
    freezing = await world.build()
    image = await freezing.freeze("n1")
    assert image.whole
    assert world.steps == FREEZE
    assert world.machine.alive() == []
    process = await freezing.thaw("n1")
    assert world.steps == [*FREEZE, *THAW]
    assert world.machine.alive() == ["c1"]
    assert process.pid != 7
    assert await world.freezer.image("n1"), "forgotten before the row says that it runs"
    await freezing.forget("n1")
    assert world.freezer.frozen == {}


@pytest.mark.parametrize(
    ("why", "words"),
    [("unfit", "criu is not installed"), ("room", "GiB are free"), ("cards", "park it first")],
)
async def test_what_cannot_be_frozen_is_not_touched(world: World, why: str, words: str) -> None:
    if why == "unfit":
        world.freezer.unfit = "the program criu is not installed; install it: apt-get install criu"
    elif why == "room":
        world.freezer.free = GIB
    else:
        world.cards = ("GPU-a",)
    freezing = await world.build()
    with pytest.raises(HostUnfit, match=words) as caught:
        await freezing.freeze("n1")
    assert caught.value.code == "cannot_freeze"
    assert world.steps == []
    assert world.machine.alive() == ["c1"]
    assert (words in await freezing.obstacle("n1")) == (why != "room"), "room is looked for when it is due"


@pytest.mark.parametrize("how", ["parked", "plugin"])
async def test_what_is_on_a_card_is_parked_or_saved(world: World, how: str) -> None:
    world.cards, world.saves_cards = ("GPU-a",), how == "plugin"
    world.store.rows["n1"] = replace(ROW, state=State.PARKED if how == "parked" else State.RUNNING)
    freezing = await world.build()
    assert await freezing.obstacle("n1") == ""
    await freezing.freeze("n1")
    assert world.machine.alive() == []


async def test_an_engine_that_is_silent_is_an_obstacle(world: World) -> None:
    async def silent() -> str:
        raise Deadline("Podman did not answer within 10 s")

    world.freezer.obstacle = silent  # type: ignore[method-assign]
    assert "Podman did not answer" in await (await world.build()).obstacle("n1")


@pytest.mark.parametrize("where", ["hang up", "checkpoint"])
async def test_a_freeze_that_fails_leaves_it_running(world: World, where: str) -> None:
    trouble = HostUnfit("CRIU says no", code="criu_refused")
    if where == "checkpoint":
        world.freezer.refusals = [trouble]
    else:
        world.troubles[where] = trouble
    freezing = await world.build()
    with pytest.raises(HostUnfit, match="CRIU says no"):
        await freezing.freeze("n1")
    assert world.machine.alive() == ["c1"]
    assert world.freezer.frozen == {}
    assert world.steps[-1] == "let in"
    assert "release" not in world.steps
    world.troubles.clear()
    await freezing.freeze("n1")


async def test_who_is_still_connected_is_hung_up_again(world: World) -> None:
    world.freezer.refusals = [Conflict("somebody is connected", code="connected") for _ in range(CONNECTED_TRIES - 1)]
    await (await world.build()).freeze("n1")
    assert world.steps.count("hang up") == CONNECTED_TRIES
    assert world.machine.alive() == []


async def test_who_connects_again_and_again_is_not_frozen(world: World) -> None:
    world.freezer.refusals = [Conflict("somebody is connected", code="connected") for _ in range(CONNECTED_TRIES)]
    freezing = await world.build()
    with pytest.raises(Conflict):
        await freezing.freeze("n1")
    assert world.machine.alive() == ["c1"]


@pytest.mark.parametrize("where", ["lay out", "lease", "restore"])
async def test_a_thaw_that_fails_changes_nothing_and_says_in_the_end_what_to_do(world: World, where: str) -> None:
    freezing = await world.build()
    await freezing.freeze("n1")
    before = await world.freezer.image("n1")
    for tries in range(1, TRIES + 1):
        if where == "restore":
            world.freezer.refusals = [HostUnfit("CRIU says no", code="criu_refused")]
        else:
            world.troubles[where] = NoCapacity("CRIU says no")
        world.machine.calls.clear()
        with pytest.raises(NbdError, match="CRIU says no") as caught:
            await freezing.thaw("n1")
        assert world.steps[-1] == "release"
        assert world.machine.alive() == []
        assert await world.freezer.image("n1") == before
        assert ("nbctl stop main" in caught.value.hint) == (tries == TRIES)
    world.troubles.clear()
    await freezing.thaw("n1")
    assert world.machine.alive() == ["c1"]


async def test_a_thawed_editor_that_is_slow_is_not_ended(world: World) -> None:
    freezing = await world.build()
    await freezing.freeze("n1")
    world.troubles["answers"] = Deadline("the editor did not answer")
    await freezing.thaw("n1")
    assert world.machine.alive() == ["c1"]


async def test_a_freeze_that_has_begun_is_not_abandoned(world: World) -> None:
    world.machine.slow["checkpoint"] = 0.05
    freezing = await world.build()
    task = asyncio.create_task(freezing.freeze("n1"))
    while "checkpoint" not in world.steps:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.machine.alive() == []
    assert await (await world.build()).recover("n1") is Outcome.FROZEN


@pytest.mark.parametrize(("cut", "found"), [("before", Outcome.RUNNING), ("after", Outcome.FROZEN)])
async def test_after_a_kill_it_is_alive_or_frozen(world: World, cut: str, found: Outcome) -> None:
    world.freezer.cut = cut
    with pytest.raises(asyncio.CancelledError):
        await (await world.build()).freeze("n1")
    freezing = await world.build()
    assert await freezing.recover("n1") is found
    assert world.machine.alive() == (["c1"] if found is Outcome.RUNNING else [])
    assert bool(world.freezer.frozen) == (found is Outcome.FROZEN), "a half image is left"
    if found is Outcome.FROZEN:
        await freezing.thaw("n1")
        assert world.machine.alive() == ["c1"]


async def test_a_thaw_cut_off_when_it_lived(world: World) -> None:
    freezing = await world.build()
    await freezing.freeze("n1")
    await world.freezer.thaw("c1", "n1")
    assert await (await world.build()).recover("n1") is Outcome.RUNNING
    assert world.freezer.frozen == {}


async def test_a_box_that_went_down_in_the_middle(world: World) -> None:
    world.freezer.cut = "before"
    with pytest.raises(asyncio.CancelledError):
        await (await world.build()).freeze("n1")
    world.machine.end("c1", 137)
    assert await (await world.build()).recover("n1") is Outcome.LOST
    assert world.freezer.frozen == {}


async def test_nothing_is_concluded_while_criu_works(world: World) -> None:
    world.freezer.working = {"n1"}
    with pytest.raises(Deadline):
        await (await world.build()).recover("n1")


async def test_one_that_was_never_frozen(world: World) -> None:
    assert await (await world.build()).recover("n1") is Outcome.NOTHING
    assert world.steps == []
