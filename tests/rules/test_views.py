"""What is said of a notebook, to its owner and to an admin who looks at somebody's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd.messages import NotebookView, Waiting
from nbd.notebooks.model import Failure, Notebook, State
from nbd.notebooks.roster import Passing
from nbd.notebooks.views import Sight, view

ROW = Notebook("n1", "keep1", "ada", "cpu", "jupyterlab", 1.0)
WAITS = Passing(None, Waiting(2, "both cards are taken", 1.0))
LOG = ("secret = 42",)


def shown(state: State, failure: Failure | None = None, *, own: bool, reason: str | None = None) -> NotebookView:
    row = replace(ROW, state=state, failure=failure, stop_reason=reason)
    return view(row, WAITS if state is State.STARTING else Passing(), Sight((), {}, "http://x/", own=own))


EXITED = Failure("editor_exited", "the editor ended with exit code 1", "", LOG)


@pytest.mark.parametrize(
    ("state", "failure", "owners", "admins"),
    [
        (State.RUNNING, None, "open it: nbctl open keep1", ""),
        (State.STARTING, None, "leave the line: nbctl stop keep1", "leave the line: nbctl stop ada/keep1"),
        (State.STOPPED, None, "start it: nbctl start keep1", ""),
        (State.FAILED, EXITED, "its last lines are below; start it again: nbctl start keep1", ""),
        (State.FAILED, replace(EXITED, log=()), "start it again: nbctl start keep1", ""),
        (State.FAILED, Failure("never_answered", "m", "is it full?", LOG), "its last lines are below; is it full?", ""),
        (State.FAILED, Failure("never_answered", "m", "is it full?"), "is it full?", ""),
        (State.STOPPED, Failure("no_capacity", "m", "wait in line"), "wait in line", ""),
        (State.ERROR, Failure("image_missing", "m", "build it"), "build it", "build it"),
        (State.ERROR, Failure("interrupted", "m", ""), "start it again: nbctl start keep1", ""),
    ],
)
def test_the_next_step_is_one_that_the_asker_can_take(state: State, failure: Failure | None, owners: str, admins: str) -> None:
    mine, theirs = shown(state, failure, own=True), shown(state, failure, own=False)
    assert (mine.hint, theirs.hint) == (owners, admins)
    if failure and mine.failure and theirs.failure:
        assert (mine.failure.hint, theirs.failure.hint) == (owners, admins)
        assert mine.failure.log == failure.log
        assert theirs.failure.log == (), "what an editor wrote is its owner's"


def test_who_stopped_it() -> None:
    assert shown(State.STOPPED, own=True, reason="user").sentence == "stopped by you"
    assert shown(State.STOPPED, own=False, reason="user").sentence == "stopped by its owner"
    assert shown(State.STOPPED, own=False, reason="admin").sentence == "stopped by an admin"
