"""The monitor over fakes: what is done to whom and when, what people read of it, and that nothing is done on what cannot be known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from nbd.config import IdleSettings
from nbd.errors import Conflict, Deadline, HostUnfit, InvalidInput, Refused, Unreachable
from nbd.idle.model import Abilities, CardUse, Counters, GpuLook, ProbeLook
from nbd.idlemessages import NoticeKind

from .idle_world import CARD, MINUTE, WARN, IdleWorld


async def test_warned_then_parked_then_stopped_where_it_cannot_be_frozen() -> None:
    world = IdleWorld()
    world.acts.able = Abilities(freeze="no CRIU", held=True)
    name = world.put()
    await world.passes(24 * MINUTE)
    assert (world.steps, world.crier.called) == ([], [])
    await world.passes(2 * MINUTE)
    assert await world.happened(name) == [WARN]
    assert "its GPU is given back" in world.notice(name)
    assert "nbctl keep main 2h" in world.crier.called[0][1]
    assert world.steps == []
    await world.passes(5 * MINUTE)
    assert world.steps == ["park"]
    assert world.acts.there[name].state == "PARKED"
    await world.passes(31 * MINUTE)
    assert world.steps == ["park", "stop idle"]
    assert world.briefs[name] is None


async def test_the_gpu_goes_to_who_works_and_who_works_is_left_alone() -> None:
    world = IdleWorld()
    works, rests = world.put("works"), world.put("rests", cards=())
    world.use_gpu(0.63)
    world.gauges.shown[rests] = Counters(1.0, 0.5, 0, 0, 1 << 28, frozenset({77}))
    await world.passes(3 * 3600)
    assert [one for _, one in world.acts.done] == [rests]
    why = await world.desk.why(works)
    assert why.verdict == "active"
    assert "pid 4711 python used 63 % of GPU-1a2b" in why.sentence
    assert "nothing will happen before" in why.sentence


async def test_a_parked_one_is_brought_back_by_its_person() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(31 * MINUTE)
    assert world.steps == ["park"]
    world.clock.now += 10
    world.type(name)
    assert world.monitor._hurry.is_set(), "its person does not wait for the next pass"
    await world.monitor.look()
    assert world.steps == ["park", "unpark"]
    await world.passes(24 * MINUTE)
    assert world.steps == ["park", "unpark"], "the clock begins again where the person was last there"


BLIND: dict[str, Callable[[IdleWorld], object]] = {
    "driver": lambda world: setattr(world.gpu, "failure", Deadline("the driver hangs")),
    "kernel": lambda world: setattr(world.gauges, "failure", Unreachable("no counters")),
    "editor": lambda world: world.editors.failures.update({"/run/main.sock": Unreachable("does not answer")}),
    "mig": lambda world: setattr(world.gpu, "shown", GpuLook(silent={"GPU-1a2b0000": "it is cut (MIG)"})),
}


@pytest.mark.parametrize("source", BLIND)
async def test_what_cannot_be_known_stops_nobody(source: str) -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(20 * MINUTE)
    BLIND[source](world)
    await world.passes(5 * 3600)
    assert world.steps == []
    assert (await world.desk.why(name)).verdict == "unknown"
    assert (await world.desk.why(name)).unknown != ()


async def test_a_silent_door_stops_nobody() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(20 * MINUTE)
    for _ in range(2000):
        world.clock.now += 10
        await world.monitor.look()
    assert world.steps == []
    assert "does not tell who types" in await world.looker.health()
    world.report()
    await world.monitor.look()
    assert await world.looker.health() == "ok"


async def test_ten_minutes_without_the_driver_are_no_idleness() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(20 * MINUTE)
    world.gpu.failure = Deadline("the driver hangs")
    await world.passes(10 * MINUTE)
    world.gpu.failure = None
    await world.passes(9 * MINUTE)
    assert world.steps == []
    await world.passes(2 * MINUTE)
    assert world.steps == ["park"]


async def test_the_clock_on_the_wall_moves_nobody() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(10 * MINUTE)
    for jump in (3600.0, -7200.0, 366 * 86400.0, -2 * 366 * 86400.0):
        world.clock.jumps += jump
        await world.passes(3 * MINUTE)
    assert world.steps == []
    await world.passes(9 * MINUTE)
    assert world.steps == ["park"]
    assert await world.happened("main") == [WARN, "park"], "nor is its run older"


async def test_after_a_restart_it_goes_on_where_it_was() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(26 * MINUTE)
    assert await world.happened(name) == [WARN]
    await world.diary.close()
    world.build()
    await world.passes(3 * MINUTE)
    assert world.steps == []
    await world.passes(3 * MINUTE)
    assert world.steps == ["park"]
    assert (await world.happened(name)).count(WARN) == 1, "what was announced is not announced again"


async def test_one_that_was_thawed_is_as_new() -> None:
    """It has been idle for longer than any policy allows, by all that is known of its container; somebody wants it now."""
    world = IdleWorld()
    name = world.put(cards=())
    await world.passes(61 * MINUTE)
    assert world.steps == ["freeze"]
    await world.passes(10 * MINUTE)
    world.put(cards=())
    await world.passes(54 * MINUTE)
    assert (world.steps, await world.happened(name)) == (["freeze"], [WARN, "freeze"])
    await world.passes(7 * MINUTE)
    assert world.steps == ["freeze", "freeze"]


@pytest.mark.parametrize("away", [0.0, 5 * MINUTE])
async def test_one_that_was_thawed_is_as_new_also_after_a_restart(away: float) -> None:
    """`away`: nothing, where it is opened again between two looks."""
    world = IdleWorld()
    world.put(cards=())
    await world.passes(61 * MINUTE)
    await world.passes(away)
    world.put(cards=())
    await world.passes(MINUTE)
    world.build()
    await world.passes(54 * MINUTE)
    assert world.steps == ["freeze"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_who_unparks_it_by_hand_is_warned_before_it_is_parked_again(restarted: bool) -> None:  # noqa: FBT001
    world = IdleWorld(IdleSettings(stop_after=math.inf, freeze_after=math.inf))
    name = world.put()
    await world.passes(31 * MINUTE)
    await world.acts.unpark(name)
    if restarted:
        world.build()
    await world.passes(4 * MINUTE)
    assert world.steps == ["park", "unpark"]
    await world.passes(3 * MINUTE)
    assert world.steps == ["park", "unpark", "park"]
    assert (await world.happened(name)).count(WARN) == 2


async def test_who_parks_it_by_hand_right_after_work_is_taken_at_their_word() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(MINUTE)
    world.type(name)
    await world.passes(10.0)
    await world.acts.park(name)
    await world.passes(MINUTE)
    assert world.steps == ["park"]
    world.type(name)
    await world.passes(10.0)
    assert world.steps == ["park", "unpark"]


async def test_keep_holds_everything_and_its_end_does_not_surprise() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(26 * MINUTE)
    why = await world.desk.keep(name, 7200.0, "ada")
    assert why.kept_until == round(world.clock.wall() + 7200)
    await world.passes(7190)
    assert world.steps == []
    await world.passes(4 * MINUTE)
    assert world.steps == [], "it is announced again"
    await world.passes(40 * MINUTE)
    assert world.steps == ["park"]
    with pytest.raises(Refused, match="8 h at most"):
        await world.desk.keep(name, 9 * 3600.0, "ada")
    del world.acts.there[name]
    with pytest.raises(Conflict):
        await world.desk.keep(name, 60.0, "ada")


async def test_a_silent_busy_kernel_is_asked_about_and_not_ended() -> None:
    world = IdleWorld()
    name = world.put()
    world.busy(name, busy=True)
    await world.passes(2 * 3600 - 60)
    assert (await world.desk.why(name)).verdict == "active"
    await world.passes(180)
    assert "ask" in await world.happened(name)
    brief = world.briefs[name]
    assert brief is not None
    assert brief.notice is not None
    assert brief.notice.kind is NoticeKind.ASK
    await world.passes(5 * 3600)
    assert world.steps == []


async def test_what_fails_is_tried_again_and_hurts_nobody_else() -> None:
    world = IdleWorld()
    world.put("one")
    world.acts.failure = HostUnfit("the driver refuses")
    await world.passes(31 * MINUTE)
    assert world.steps == []
    world.acts.failure = None
    await world.passes(MINUTE)
    assert world.steps == ["park"]


async def test_a_tighter_word_of_ones_own() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(MINUTE)
    why = await world.desk.set(name, {"park_after": "10min"})
    assert ("park_after", "10min", "you") in [(row.key, row.value, row.origin) for row in why.policy]
    with pytest.raises(Refused, match="30min"):
        await world.desk.set(name, {"park_after": "2h"})
    with pytest.raises(InvalidInput):
        await world.desk.set(name, {"park_aftr": "2h"})
    await world.passes(10 * MINUTE)
    assert world.steps == ["park"]
    await world.desk.set(name, {"park_after": ""})
    assert world.acts.there[name].own == {}


async def test_who_waits_gets_the_card_of_who_is_idle_longest() -> None:
    world = IdleWorld(IdleSettings(preempt_after=600.0))
    world.put("first", cards=(CARD,))
    await world.passes(5 * MINUTE)
    world.put("second", cards=("GPU-2b3c0000",))
    world.gpu.shown = replace(world.gpu.shown, cards=(CardUse("GPU-2b3c0000", 0.0),))
    await world.passes(9 * MINUTE)
    assert await world.happened("first") == [], "nobody waits"
    world.waiting = 1
    await world.passes(6 * MINUTE)
    assert world.acts.done == [("park", "first")]
    assert "somebody waits for a GPU" in world.crier.called[0][1]
    world.waiting = 0
    await world.passes(5 * MINUTE)
    assert world.acts.done == [("park", "first")]


async def test_what_is_never_parked_is_not_parked_for_who_waits() -> None:
    world = IdleWorld(IdleSettings(park_after=math.inf, preempt_after=600.0))
    world.put("never")
    await world.passes(MINUTE)
    world.put("may")
    world.acts.there["may"] = replace(world.acts.there["may"], own={"park_after": "25min"})
    world.waiting = 1
    await world.passes(20 * MINUTE)
    assert world.acts.done == [("park", "may")]
    await world.passes(20 * MINUTE)
    assert world.acts.done == [("park", "may")]


async def test_shadow_does_nothing_and_says_it() -> None:
    world = IdleWorld(IdleSettings(shadow=True))
    name = world.put()
    await world.passes(3 * 3600)
    assert (world.steps, world.crier.called) == ([], [])
    assert "only said, not done" in (await world.desk.why(name)).sentence


async def test_a_probe_counts_and_one_that_fails_is_unknown() -> None:
    world = IdleWorld()
    world.scripts["gpu"] = "/usr/local/bin/probe"
    name = world.put()
    world.probes.answers[f"container-{name}"] = ProbeLook(active=True, text="epoch 3 of 10")
    await world.passes(3600)
    assert world.steps == []
    assert "epoch 3 of 10" in (await world.desk.why(name)).sentence
    world.probes.answers.clear()
    await world.passes(3600)
    assert (await world.desk.why(name)).verdict == "unknown"


async def test_editors_are_asked_sparingly() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(MINUTE)
    before = world.gauges.calls
    asked = world.editors.calls
    await world.passes(10 * MINUTE)
    assert world.gauges.calls - before == 60
    assert world.editors.calls - asked == 10


async def test_the_last_day_and_another_policy() -> None:
    world = IdleWorld()
    name = world.put()
    world.use_gpu(0.5)
    await world.passes(3600)
    world.use_gpu(0.0)
    await world.passes(20 * MINUTE)
    history = await world.desk.history(name)
    assert [span.what for span in history.moods][-2:] == ["active", "idle"]
    assert any(lane.signal == "gpu" and lane.spans for lane in history.lanes)
    shown = await world.desk.replay(name, '[idle]\npark_after = "10min"\n')
    assert [one.step for one in shown.steps] == ["warn", "park"]
    assert [one.step for one in shown.present] == []
    assert shown.free_seconds > 500
    with pytest.raises(InvalidInput, match="park_aftr"):
        await world.desk.replay(name, '[idle]\npark_aftr = "10min"\n')
