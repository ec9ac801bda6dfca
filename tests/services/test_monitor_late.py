"""The monitor on bad days: what is late, hangs, costs or breaks touches nobody who works, and holds nobody else up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nbd.errors import Unreachable
from nbd.idle.model import CardUse, ProbeLook

from .idle_world import MINUTE, IdleWorld


async def test_who_begins_to_type_between_the_look_and_the_act_is_left_alone() -> None:
    world = IdleWorld()
    name = world.put()
    await world.passes(30 * MINUTE - 20)
    assert world.steps == []
    for _ in range(6):
        world.clock.now += 10
        world.report()
        world.editors.meanwhile = lambda: world.type(name)  # While the editor is asked, after the counters were read.
        await world.monitor.look()
        await world.calm()
    assert world.steps == []
    world.editors.meanwhile = None
    await world.passes(31 * MINUTE)
    assert world.steps == ["park"]


async def test_what_took_longer_than_a_look_is_old() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(30 * MINUTE - 20)

    def slow() -> None:
        world.clock.now += 12

    world.editors.meanwhile = slow
    await world.passes(3 * MINUTE)
    assert world.steps == []
    world.editors.meanwhile = None
    await world.passes(MINUTE)
    assert world.steps == ["park"]


async def test_probes_that_hang_hold_nobody_up() -> None:
    world = IdleWorld()
    world.scripts["gpu"] = "/usr/local/bin/probe"
    hanging = world.put("hanging")
    world.probes.hangs = asyncio.Event()
    other = world.put("other", cards=("GPU-2b3c0000",))
    world.gpu.shown = replace(world.gpu.shown, cards=(CardUse("GPU-2b3c0000", 0.0),))
    world.acts.there[other] = replace(world.acts.there[other], profile="plain")
    await world.passes(31 * MINUTE)
    assert world.acts.done == [("park", other)]
    assert (await world.desk.why(hanging)).verdict == "unknown"
    await world.prober.close()


async def test_what_a_probe_costs_is_not_its_work() -> None:
    world = IdleWorld()
    name = world.put()
    world.scripts["gpu"] = "/usr/local/bin/probe"
    world.probes.answers[f"container-{name}"] = ProbeLook(active=False)

    def costs() -> None:
        shown = world.gauges.shown[name]
        world.gauges.shown[name] = replace(shown, cpu_seconds=(shown.cpu_seconds or 0.0) + 3.0)

    world.probes.meanwhile = costs
    await world.passes(32 * MINUTE)
    assert world.steps == ["park"]


async def test_one_defect_is_nobody_elses() -> None:
    world = IdleWorld()
    world.put("one")
    world.put("two", cards=("GPU-2b3c0000",))
    world.gpu.shown = replace(world.gpu.shown, cards=(CardUse("GPU-2b3c0000", 0.0),))
    world.records.defect = "one"
    await world.passes(31 * MINUTE)
    assert world.acts.done == [("park", "two")]


async def test_an_editor_that_hangs_is_told_and_not_waited_for_at_each_look() -> None:
    world = IdleWorld()
    world.put()
    await world.passes(MINUTE)
    world.editors.failures["/run/main.sock"] = Unreachable("does not answer")
    calls = world.editors.calls
    await world.passes(10 * MINUTE)
    assert world.editors.calls - calls <= 21
    assert await world.looker.health() == "1 editor cannot be asked"
