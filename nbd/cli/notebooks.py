"""The verbs for notebooks: start, open, stop and rm; those that only show are in views.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import Conflict, InvalidInput, NbdError, NoCapacity, StartFailed
from ..messages import FailureView, NotebookView, OpenAnswer, StartRequest
from .attached import ATTACH, asked
from .client import route, typed
from .follow import Story, watch
from .grammar import Arg, Call, Verb, Words, natural
from .output import emit, label
from .render import Cell, Live, Screen
from .text import log_line, ordinal, phases, took

CREATED = 201
UP = frozenset({"RUNNING", "PARKED", "FROZEN"})
ON_THE_WAY = frozenset({"STARTING", "STOPPING"})
LIVE_STATES = UP | ON_THE_WAY
NAME = Arg(("name",), "the notebook; an admin may say OWNER/NAME", metavar="NAME", words=Words.NOTEBOOKS)
DETACH = Arg(("-d", "--detach"), "do not wait until it is done", kind=None)


def start(call: Call) -> int:
    args = call.args
    wish = StartRequest(args.name, args.profile, args.editor, args.gpus, args.wait, args.empty_home, asked(call))
    status, message = call.client.ask("POST", "/v1/notebooks", wish)
    view = typed(NotebookView, message)
    if view.state == "STARTING" and args.detach:
        emit(call, message, lambda: call.out.tell(f"{label(view)} is starting; see: nbctl show {label(view)}"))
        return 0
    if view.state in ON_THE_WAY:
        message = settled(call, message, "starting", StartEnded(view, fresh=status == CREATED))
    return _started(call, view, message, fresh=status == CREATED)


class StartEnded:
    """Whether a start came to its end. One that waits for a stop to finish passes through STOPPED, and that is not its end."""

    def __init__(self, asked: NotebookView, *, fresh: bool) -> None:
        self.asked = asked
        self.began = not fresh and asked.state != "STOPPING"

    def __call__(self, seen: NotebookView) -> bool:
        self.began = self.began or seen.state == "STARTING" or seen.run > self.asked.run
        return seen.state in UP or (self.began and seen.state not in ON_THE_WAY)


def _started(call: Call, asked: NotebookView, message: Any, *, fresh: bool) -> int:
    if message is None:
        raise Conflict(f"{label(asked)} was removed while it started", hint="nbctl ls")
    view = typed(NotebookView, message)
    if view.state not in UP:
        raise not_started(view)
    emit(call, message, lambda: _tell_started(call, view, fresh=fresh))
    return 0


def _tell_started(call: Call, view: NotebookView, *, fresh: bool) -> None:
    out, name = call.out, label(view)
    cards = f" on {', '.join(view.gpus)}" if view.gpus else ""
    if view.state != "RUNNING":
        out.tell(f"{name} is {view.state}: {view.sentence}")
    elif fresh:
        out.tell(f"{name} is running{cards}; it took {took(sum(view.phases.values()))}.", "green")
    else:
        out.tell(f"{name} is already running{cards}.", "green")
        if others := other_wishes(call, view):
            runs, wished = ", ".join(f"{what} {has}" for what, has, _ in others), " ".join(f"--{what} {wish}" for what, _, wish in others)
            out.tell(f"It goes on with {runs}; to change that: nbctl stop {name}, then nbctl start {name} {wished}", "yellow")
    out.tell(f"open it: nbctl open {name}")
    if call.err.terminal and fresh:
        call.err.tell(phases(dict(view.phases)), "dim")


def other_wishes(call: Call, view: NotebookView) -> list[tuple[str, object, object]]:
    """What was asked for and is not so, because the notebook was up already: the option, what it has, what was wished."""
    has: dict[str, object] = {"profile": view.profile, "editor": view.editor, "gpus": len(view.gpus)}
    wishes = {what: getattr(call.args, what) for what in has}
    return [(what, has[what], wish) for what, wish in wishes.items() if wish is not None and wish != has[what]]


class NotStarted(StartFailed):
    """Carries the editor's last words to the terminal."""

    def __init__(self, failure: FailureView, name: str) -> None:
        super().__init__(f"{name} did not start: {failure.message}", hint=failure.hint or f"nbctl show {name}", code=failure.code)
        self.log = failure.log


def not_started(view: NotebookView) -> NbdError:
    name = label(view)
    failure = view.failure
    if NoCapacity.default_code in (view.stop_reason, failure.code if failure else None):
        why, hint = (failure.message, failure.hint) if failure else (view.sentence, view.hint)
        return NoCapacity(f"{name} did not start: {why}", hint=hint or f"queue for it: nbctl start {name} --wait")
    if failure:
        return NotStarted(failure, name)
    return Conflict(f"{name} is {view.state}: {view.sentence or 'it was stopped while it started'}", hint=view.hint or f"nbctl show {name}")


def settled(call: Call, first: Any, doing: str, done: Callable[[NotebookView], bool]) -> Any:
    """The notebook's message once it is `done`, or None when the notebook is gone; meanwhile a terminal shows how it goes."""
    asked = typed(NotebookView, first)
    try:
        with Live(call.err, shown=not call.json) as live:
            return _settled(call, first, Story(call.err, live, f"{doing} {label(asked)}"), done)
    except KeyboardInterrupt:
        call.err.tell(f"nbctl: nbd goes on {doing} {label(asked)} without you; see: nbctl show {label(asked)}")
        raise


def _settled(call: Call, first: Any, story: Story, done: Callable[[NotebookView], bool]) -> Any:
    line, view = Line(call), story.see(first)
    if done(view):
        return first
    for message in watch(call.client, view.id, story.tick):
        if message is None:
            return None
        view = story.see(message)
        line.see(view)
        if done(view):
            return message
    return None


class Line:
    """The place in the queue, for who waits without a terminal: one line on stderr each time it changes."""

    def __init__(self, call: Call) -> None:
        self.screen: Screen | None = None if call.json or call.err.terminal else call.err
        self.position: int | None = None

    def see(self, view: NotebookView) -> None:
        position = view.waiting.position if view.waiting else None
        if self.screen and view.waiting and position != self.position:
            self.screen.tell(f"waiting: {ordinal(view.waiting.position)} in line: {view.waiting.reason}")
            self.screen.stream.flush()
        self.position = position


def open_(call: Call) -> int:
    return _one_time(call, call.client.post(route("notebooks", call.args.name) + "/open"))


def login(call: Call) -> int:
    return _one_time(call, call.client.post("/v1/login"))


def _one_time(call: Call, message: Any) -> int:
    """The URL alone on stdout, so that a script or a browser can be given it as it is."""
    answer = typed(OpenAnswer, message)
    emit(call, message, lambda: call.out.tell(answer.url))
    if call.err.terminal and not call.json:
        call.err.tell(f"opens once, within {took(answer.expires - call.now)}", "dim")
    return 0


def stop(call: Call) -> int:
    message = call.client.post(route("notebooks", call.args.name) + "/stop")
    view = typed(NotebookView, message)
    name, asked = label(view), view.run
    if view.state in LIVE_STATES and not call.args.detach:
        # A later run than the one that was to stop means that somebody started it again: that one stopped all the same.
        ended = settled(call, message, "stopping", lambda seen: seen.state not in LIVE_STATES or seen.run > asked)
        message = ended if ended is not None else message
        view = typed(NotebookView, message)
    if view.state == "ERROR":
        raise NbdError(view.sentence or f"{name} could not be stopped", hint=view.hint or f"nbctl show {name}", code="stop_failed")
    told = "is stopping" if view.state in LIVE_STATES else "is stopped"
    emit(call, message, lambda: _tell_stopped(call, view, told))
    return 0


def _tell_stopped(call: Call, view: NotebookView, told: str) -> None:
    name = label(view)
    call.out.tell(f"{name} {told}; its home is kept. Start it again: nbctl start {name}")
    if view.unsaved:
        call.out.tell(f"{view.unsaved}; it goes on by itself: nbctl home status", "yellow")


def rm(call: Call) -> int:
    path = route("notebooks", call.args.name)
    if not call.args.yes:
        _confirm(call, typed(NotebookView, call.client.get(path)))
    message = call.client.delete(path)
    view = typed(NotebookView, message)
    if not call.args.detach:
        # It is asked for its end, not yet at it: the present state may still be the one from before.
        left = settled(call, message, "removing", lambda seen: seen.state == "ERROR" and view.state != "ERROR")
        if left is not None:
            why = typed(NotebookView, left)
            raise NbdError(f"{label(view)} could not be removed: {why.sentence}", hint=why.hint, code="remove_failed")
    told = "is being removed" if call.args.detach else "is removed"
    emit(call, message, lambda: call.out.tell(f"{label(view)} {told}; the home directory of {view.owner} is untouched."))
    return 0


def _confirm(call: Call, view: NotebookView) -> None:
    if call.json or not sys.stdin.isatty() or not call.err.stream.isatty():
        raise InvalidInput("rm asks a person to type the name, and there is no terminal", hint="--yes removes it without asking", code="wrong_use")
    call.err.say("This removes ", Cell(f"{view.owner}/{view.name}", "bold"), f" ({view.state}): its container, its address and its history.")
    call.err.tell(f"The home directory of {view.owner} is not touched.")
    call.err.stream.write(f"Type {view.name} to remove it: ")
    call.err.stream.flush()
    if sys.stdin.readline().strip() != view.name:
        raise NbdError("nothing was removed: that is not its name", code="not_confirmed")


def logs(call: Call) -> int:
    path = f"{route('notebooks', call.args.name)}/logs?follow={int(call.args.follow)}&lines={call.args.lines}"
    if not call.args.follow:
        text = call.client.text(path)
        lines = text.removesuffix("\n").split("\n") if text else []
        if not lines:
            call.err.tell("its editor has written nothing")
        emit(call, [{"line": line} for line in lines], lambda: call.out.say_all([log_line(line) for line in lines]))
        return 0
    try:
        for line in call.client.lines("GET", path):
            emit(call, {"line": line}, lambda line=line: call.out.raw(log_line(line)))  # type: ignore[misc]
            call.out.stream.flush()
    except KeyboardInterrupt:
        pass
    return 0


START = Verb(
    "start",
    "start a notebook and wait until it runs",
    start,
    (
        Arg(("name",), "what to call it (main)", metavar="NAME", default="main", optional=True, words=Words.NOTEBOOKS),
        Arg(("-p", "--profile"), "what it runs on: nbctl profile ls", metavar="PROFILE", words=Words.PROFILES),
        Arg(("-e", "--editor"), "another editor than the profile's", metavar="EDITOR"),
        Arg(("-g", "--gpus"), "how many GPUs, if not what the profile says", metavar="N", kind=natural),
        Arg(("-w", "--wait"), "queue when nothing fits now, instead of being refused; wait for a store that is away", kind=None),
        Arg(("--empty-home",), "do not bring an empty or half home back from its snapshots", kind=None),
        *ATTACH,
        DETACH,
    ),
)
VERBS = (
    Verb("open", "print an address that opens the notebook in a browser, once", open_, (NAME,)),
    Verb("login", "print an address that signs a browser in, once", login),
    Verb(
        "logs",
        "print what the editor wrote",
        logs,
        (
            NAME,
            Arg(("-f", "--follow"), "go on as it writes more", kind=None),
            Arg(("-n", "--lines"), "how many of the last lines (200)", metavar="N", kind=natural, default=200),
        ),
    ),
    Verb("stop", "stop a notebook, with time to save; the home is kept", stop, (NAME, DETACH)),
    Verb(
        "rm",
        "remove a notebook; the home is untouched",
        rm,
        (NAME, Arg(("-y", "--yes"), "do not ask for the name", kind=None), DETACH),
    ),
)
