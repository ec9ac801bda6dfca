"""Wanted against seen: a table for what people meet, properties for the rest. The world here is a model that carries plans out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.notebooks import reconcile
from nbd.notebooks.model import LIVE, MOVES, Notebook, State, Want, move
from nbd.notebooks.reconcile import (
    Action,
    Adopt,
    Begin,
    Discard,
    DropImage,
    Ended,
    Finish,
    FreeLease,
    Lost,
    Recover,
    Restore,
    Seen,
    Vanished,
    World,
    after_crash,
    plan,
)

ROW = Notebook("n1", "main", "ada", "cpu", "jupyterlab", 0.0, State.RUNNING, Want.RUNNING, container="c1", run=1)
ALIVE = Seen("c1", "n1", 1, alive=True, label=ROW)
DEAD = replace(ALIVE, alive=False, exit_code=1)


def row(state: State, want: Want = Want.RUNNING) -> Notebook:
    return replace(ROW, state=state, want=want)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(World([ROW], [ALIVE]), [Adopt], id="it runs: adopt it"),
        pytest.param(World([ROW], [ALIVE], watched={"n1": "c1"}), [], id="it runs and is watched: nothing"),
        pytest.param(World([ROW], [ALIVE], busy={"n1"}), [], id="a task has it: nothing"),
        pytest.param(World([row(State.STARTING)], [ALIVE]), [Adopt], id="its start was cut off after the container ran"),
        pytest.param(World([row(State.STARTING)], [DEAD]), [Discard, Begin], id="its start was cut off half-way"),
        pytest.param(World([row(State.STARTING)], []), [Begin], id="its start was cut off at once"),
        pytest.param(World([ROW], [DEAD]), [Ended], id="it ended while nobody looked"),
        pytest.param(World([ROW], []), [Vanished], id="its container is gone"),
        pytest.param(World([row(State.STOPPING, Want.STOPPED)], [ALIVE]), [Finish], id="its stop was cut off"),
        pytest.param(World([row(State.STOPPING, Want.RUNNING)], [ALIVE]), [Finish], id="its stop was cut off, and it is wanted again"),
        pytest.param(World([row(State.STOPPED, Want.STOPPED)], [ALIVE]), [Finish], id="it runs and is not wanted"),
        pytest.param(World([row(State.STOPPED, Want.STOPPED)], [DEAD]), [Discard], id="a dead left-over"),
        pytest.param(World([row(State.STOPPED, Want.STOPPED)], []), [], id="at rest"),
        pytest.param(World([row(State.STOPPED, Want.DELETED)], []), [Finish], id="its deletion was cut off"),
        pytest.param(World([], [ALIVE]), [Restore], id="the row is lost: rebuilt, never started again"),
        pytest.param(World([], [DEAD]), [Discard], id="a dead container of nobody"),
        pytest.param(World([], [replace(ALIVE, label=None)]), [], id="a living one whose label cannot be read is left alone"),
        pytest.param(World([ROW], [ALIVE, replace(ALIVE, container="c2", run=2)], watched={"n1": "c1"}), [Discard], id="two live: the row's stays"),
        pytest.param(World([ROW], [ALIVE, replace(DEAD, container="c0", run=0)]), [Discard, Adopt], id="an earlier run's left-over"),
        pytest.param(World([row(State.FROZEN)], [DEAD], images={"n1": True}), [], id="frozen: its container is dead, and that is right"),
        pytest.param(World([row(State.FROZEN)], [DEAD], images={"n1": None}), [], id="frozen, and being thawed by somebody: wait"),
        pytest.param(World([row(State.FROZEN)], [ALIVE], images={"n1": True}), [Adopt], id="its thaw was cut off when it lived"),
        pytest.param(World([row(State.FROZEN)], [DEAD], images={"n1": True}, leased={"n1"}), [FreeLease], id="frozen, and its card not given back"),
        pytest.param(World([row(State.FROZEN)], [DEAD], images={"n1": False}), [Lost], id="frozen, and its image is half"),
        pytest.param(World([row(State.FROZEN)], [DEAD]), [], id="frozen, and its image is not to be seen: its disk may come back"),
        pytest.param(World([row(State.FROZEN)], [], images={"n1": True}), [], id="frozen, and its container is not to be seen"),
        pytest.param(World([row(State.FROZEN)], []), [], id="frozen, and nothing of it is to be seen"),
        pytest.param(
            World([row(State.FROZEN)], [DEAD, replace(DEAD, container="c0", run=0)], images={"n1": True}),
            [Discard],
            id="frozen, and an older left-over",
        ),
        pytest.param(World([row(State.FROZEN, Want.STOPPED)], [DEAD], images={"n1": True}), [Finish, DropImage], id="frozen and not wanted any more"),
        pytest.param(World([row(State.STOPPING, Want.STOPPED)], [DEAD], images={"n1": True}), [Finish], id="the stop of a frozen one was cut off"),
        pytest.param(World([row(State.STOPPED, Want.STOPPED)], [], images={"n1": True}), [DropImage], id="stopped, and its image was left"),
        pytest.param(World([ROW], [DEAD], images={"n1": True}), [Recover], id="its freeze was cut off when the work was done"),
        pytest.param(World([row(State.PARKED)], [DEAD], images={"n1": True}), [Recover], id="the same, parked"),
        pytest.param(World([row(State.PARKED)], [ALIVE], images={"n1": False}), [Adopt], id="parked, and its freeze was cut off: adopt it first"),
        pytest.param(World([ROW], [DEAD], images={"n1": False}), [Lost], id="the box went down while it was being frozen"),
        pytest.param(World([ROW], [DEAD], images={"n1": None}), [], id="CRIU is at work on it: wait"),
        pytest.param(World([ROW], [], images={"n1": True}), [Vanished], id="its container is gone, whatever image there is"),
        pytest.param(World([ROW], [ALIVE], watched={"n1": "c1"}, images={"n1": False}), [DropImage], id="a half image of one that lives"),
        pytest.param(World([ROW], [ALIVE], watched={"n1": "c1"}, images={"n1": True}), [DropImage], id="thawed, and its image not forgotten yet"),
        pytest.param(World([], [DEAD], images={"n1": True}), [Restore], id="the row of a frozen one is lost: rebuilt"),
        pytest.param(World([], [DEAD], images={"n1": False}), [Discard], id="a dead container of nobody with half an image"),
        pytest.param(World([], [], images={"n1": True}), [DropImage], id="an image of nobody"),
        pytest.param(World([], [], images={"n1": None}), [], id="an image of nobody that is being written"),
        pytest.param(World([row(State.STOPPED, Want.STOPPED)], [], leased={"n1"}), [FreeLease], id="a lease at rest"),
        pytest.param(World([ROW], [ALIVE], watched={"n1": "c1"}, leased={"n1"}), [], id="a lease in use"),
        pytest.param(World([], [], leased={"gone"}), [FreeLease], id="a lease of nobody"),
    ],
)
def test_each_difference_has_one_repair(world: World, expected: list[type[Action]]) -> None:
    actions = plan(world)
    assert [type(action) for action in actions] == expected
    assert all(action.reason for action in actions)


def carried_out(world: World, actions: Sequence[Action]) -> World:
    """What the manager makes of a plan, in the model."""
    rows = {item.id: item for item in world.rows}
    seen = list(world.seen)
    watched, leased, images = dict(world.watched), set(world.leased), dict(world.images)
    for action in actions:
        match action:
            case Discard(container):
                seen = [item for item in seen if item.container != container]
            case Adopt(notebook, container):
                watched[notebook] = container
                rows[notebook] = replace(rows[notebook], state=State.RUNNING, container=container)
            case Restore(label, container):
                alive = any(item.container == container and item.alive for item in seen)
                rows[label.id] = replace(label, state=State.RUNNING, want=Want.RUNNING, container=container) if alive else label
                watched |= {label.id: container} if alive else {}
            case Recover(notebook):
                rows[notebook] = replace(rows[notebook], state=State.FROZEN)
            case DropImage(notebook):
                images.pop(notebook)
            case Ended(notebook) | Vanished(notebook) | Lost(notebook):
                rows[notebook] = replace(rows[notebook], state=State.FAILED, want=Want.STOPPED, container=None)
                seen = [item for item in seen if item.notebook != notebook or item.alive]
                watched.pop(notebook, None)
            case Begin(notebook):
                rows[notebook] = replace(rows[notebook], state=State.RUNNING, container=f"new-{notebook}")
                seen.append(Seen(f"new-{notebook}", notebook, 9, alive=True, label=rows[notebook]))
                watched[notebook] = f"new-{notebook}"
            case Finish(notebook):
                finished(notebook, rows, seen)
                watched.pop(notebook, None)
            case FreeLease(notebook):
                leased.discard(notebook)
    return World(tuple(rows.values()), tuple(seen), (), watched, frozenset(leased), images)


def finished(notebook: str, rows: dict[str, Notebook], seen: list[Seen]) -> None:
    seen[:] = [item for item in seen if item.notebook != notebook or item.container.startswith("other")]
    if rows[notebook].want is Want.DELETED:
        del rows[notebook]
    elif rows[notebook].want is Want.RUNNING:
        rows[notebook] = replace(rows[notebook], state=State.STARTING, container=None)
    else:
        rows[notebook] = replace(rows[notebook], state=State.STOPPED, container=None)


ids = st.sampled_from(["n1", "n2"])
states = st.sampled_from(State)


@st.composite
def a_row(draw: st.DrawFn) -> Notebook:
    id, container = draw(ids), draw(st.sampled_from([None, "a", "b"]))
    return replace(ROW, id=id, name=id, state=draw(states), want=draw(st.sampled_from(Want)), container=container)


@st.composite
def a_container(draw: st.DrawFn) -> Seen:
    notebook = draw(ids)
    label = replace(ROW, id=notebook) if draw(st.booleans()) else None
    return Seen(draw(st.sampled_from("abcd")), notebook, draw(st.integers(0, 3)), draw(st.booleans()), label=label)


rows_ = st.lists(a_row(), unique_by=lambda item: item.id)
seen_ = st.lists(a_container(), unique_by=lambda item: item.container)
images_ = st.dictionaries(ids, st.booleans())


@given(rows_, seen_, st.sets(ids), images_)
def test_every_plan_converges(rows: list[Notebook], seen: list[Seen], leased: set[str], images: dict[str, bool]) -> None:
    world = World(rows, seen, leased=leased, images=images)
    for _ in range(4):
        actions = plan(world)
        if not actions:
            break
        world = carried_out(world, actions)
    assert plan(world) == ()
    living = [item.notebook for item in world.seen if item.alive and item.label]
    assert len(living) == len(set(living)), "two living copies of one notebook"


@given(rows_, seen_)
def test_a_wanted_life_is_never_thrown_away(rows: list[Notebook], seen: list[Seen]) -> None:
    """Of a wanted notebook's living containers one survives, the row's own if it lives; a readable life without a row survives too."""
    actions = plan(World(rows, seen))
    thrown = {action.container for action in actions if isinstance(action, Discard)}
    for item in rows:
        living = {one.container for one in seen if one.notebook == item.id and one.alive}
        if item.want is Want.RUNNING and living:
            assert len(living - thrown) == 1
            assert item.container not in living or item.container not in thrown
    for notebook in {one.notebook for one in seen} - {item.id for item in rows}:
        readable = {one.container for one in seen if one.notebook == notebook and one.alive and one.label}
        assert not readable or len(readable - thrown) == 1


@given(rows_, seen_, images_)
def test_what_is_frozen_and_wanted_is_kept(rows: list[Notebook], seen: list[Seen], images: dict[str, bool]) -> None:
    """Neither the dead container nor the whole image of a wanted notebook goes, until it lives again."""
    actions = plan(World(rows, seen, images=images))
    thrown = {action.container for action in actions if isinstance(action, Discard)}
    dropped = {action.notebook for action in actions if isinstance(action, DropImage)}
    over = {action.notebook for action in actions if isinstance(action, Ended | Lost | Vanished | Begin | Finish)}
    for item in rows:
        own = [one for one in seen if one.notebook == item.id and one.container == item.container]
        living = any(one.alive for one in seen if one.notebook == item.id)
        frozen = item.want is Want.RUNNING and item.state in (State.RUNNING, State.PARKED, State.FROZEN) and images.get(item.id) and own
        if frozen and not living:
            assert item.container not in thrown
            assert item.id not in dropped | over


@given(rows_, seen_, st.sets(ids))
def test_who_is_busy_is_left_alone(rows: list[Notebook], seen: list[Seen], busy: set[str]) -> None:
    named = {getattr(action, "notebook", None) or action.row.id for action in plan(World(rows, seen, busy))}  # type: ignore[union-attr]
    assert not named & busy


def test_three_crashes_within_ten_minutes_are_a_loop() -> None:
    first = after_crash((), 1000.0, 3, 600.0)
    second = after_crash(first.crashes, 1100.0, 3, 600.0)
    third = after_crash(second.crashes, 1200.0, 3, 600.0)
    assert [first.restart, second.restart, third.restart] == [True, True, False]
    assert third.reason == "it ended wrongly 3 times within 10 min"


def test_crashes_are_forgotten_with_time_and_with_a_clock_that_jumps() -> None:
    assert after_crash((1000.0, 1100.0), 1701.0, 3, 600.0).crashes == (1701.0,)
    assert after_crash((5000.0, 5100.0), 100.0, 3, 600.0).restart


@pytest.mark.parametrize("state", list(State))
def test_moves(state: State) -> None:
    for other in State:
        if other is state or other in MOVES[state]:
            assert move(row(state), other).state is other
        else:
            with pytest.raises(Exception, match="cannot become"):
                move(row(state), other)


def test_every_state_can_be_left_but_the_last() -> None:
    assert [state for state in State if not MOVES[state]] == [State.DELETING]
    assert all(State.STOPPING in MOVES[state] for state in LIVE - {State.STOPPING})
    assert reconcile.plan(World([], [])) == ()
