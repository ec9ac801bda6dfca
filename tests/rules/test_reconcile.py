"""Wanted against seen: a table for what people meet, properties for the rest. The world here is a model that carries plans out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.notebooks import reconcile
from nbd.notebooks.model import LIVE, MOVES, Notebook, State, Want, move
from nbd.notebooks.reconcile import Action, Adopt, Begin, Discard, Ended, Finish, FreeLease, Restore, Seen, Vanished, World, after_crash, plan

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
        pytest.param(World([row(State.FROZEN)], []), [], id="frozen: no container is right"),
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
    watched, leased = dict(world.watched), set(world.leased)
    for action in actions:
        match action:
            case Discard(container):
                seen = [item for item in seen if item.container != container]
            case Adopt(notebook, container):
                watched[notebook] = container
                rows[notebook] = replace(rows[notebook], state=State.RUNNING, container=container)
            case Restore(label, container):
                rows[label.id] = replace(label, state=State.RUNNING, want=Want.RUNNING, container=container)
                watched[label.id] = container
            case Ended(notebook) | Vanished(notebook):
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
    return World(tuple(rows.values()), tuple(seen), (), watched, frozenset(leased))


def finished(notebook: str, rows: dict[str, Notebook], seen: list[Seen]) -> None:
    seen[:] = [item for item in seen if item.notebook != notebook or item.container.startswith("other")]
    if rows[notebook].want is Want.DELETED:
        del rows[notebook]
    elif rows[notebook].want is Want.RUNNING:
        rows[notebook] = replace(rows[notebook], state=State.STARTING, container=None)
    else:
        rows[notebook] = replace(rows[notebook], state=State.STOPPED, container=None)


ids = st.sampled_from(["n1", "n2"])
states = st.sampled_from([state for state in State if state is not State.FROZEN])


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


@given(rows_, seen_, st.sets(ids))
def test_every_plan_converges(rows: list[Notebook], seen: list[Seen], leased: set[str]) -> None:
    world = World(rows, seen, leased=leased)
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
