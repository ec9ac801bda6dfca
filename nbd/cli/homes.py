"""The verbs of a home: how it is kept, what is kept of it, what takes the room, and getting something back."""

from __future__ import annotations

import os
import pwd
import sys
import time
from typing import Any

from ..errors import InvalidInput, NbdError, Unreachable
from ..messages import (
    DifferenceView,
    EntryView,
    HomeView,
    LossView,
    RestoreRequest,
    RestoreView,
    SnapshotView,
    UsageView,
    VerifyView,
    VersionView,
)
from . import homeviews as views
from .attached import ATTACHED
from .client import parsed, problem_error, quoted, typed, typed_all
from .grammar import Arg, Call, Verb, Words
from .homecare import CARE
from .moments import moment_of
from .output import emit
from .render import Live
from .text import running

POLL_SECONDS = 0.2
WEIGHED_WITHIN = 2.0
"""Seconds; a small home is weighed by then."""


def status(call: Call) -> int:
    message = call.client.get("/v1/home")
    emit(call, message, lambda: views.status(call, typed(HomeView, message)))
    return 0


def confirm(call: Call) -> int:
    if not call.args.yes:
        loss = typed(LossView, call.client.get("/v1/home/losses"))
        ask(call, "confirm", lambda: views.losses(call, loss), "Is it meant")
    message = call.client.post("/v1/home/confirm")
    emit(call, message, lambda: views.status(call, typed(HomeView, message)))
    return 0


def snapshots(call: Call) -> int:
    messages = call.client.get("/v1/home/snapshots")
    found = typed_all(SnapshotView, messages)
    if call.args.ids:
        ids = [view.id[: views.SHORT] for view in found]
        emit(call, ids, lambda: call.out.say_all([call.out.line(id) for id in ids]))
    else:
        emit(call, messages, lambda: views.snapshots(call, found))
    return 0


def ls(call: Call) -> int:
    path = "" if call.args.path is None else in_home(call.args.path)
    messages = call.client.get(f"/v1/home/ls?snapshot={quoted(call.args.snapshot)}&path={quoted(path)}")
    emit(call, messages, lambda: views.entries(call, typed_all(EntryView, messages)))
    return 0


def diff(call: Call) -> int:
    messages = call.client.get(f"/v1/home/diff?a={quoted(call.args.a)}&b={quoted(call.args.b)}")
    emit(call, messages, lambda: views.differences(call, typed_all(DifferenceView, messages)))
    return 0


def versions(call: Call) -> int:
    messages = call.client.get(f"/v1/home/versions?path={quoted(in_home(call.args.path))}")
    emit(call, messages, lambda: views.versions(call, typed_all(VersionView, messages)))
    return 0


def usage(call: Call) -> int:
    """A weighing that is under way is waited for: a moment where there is an older one to tell, else for as long as core answers."""
    with Live(call.err, shown=not call.json) as live:
        began = time.monotonic()
        message = call.client.get("/v1/home/usage")
        while (view := typed(UsageView, message)).measuring and (view.measured is None or time.monotonic() - began < WEIGHED_WITHIN):
            live.draw([live.screen.line(f"weighing {view.path}  {running(time.monotonic() - began)}")])
            time.sleep(POLL_SECONDS)
            message = call.client.get("/v1/home/usage")
    if view.measured is None:
        raise NbdError(view.trouble or "the home could not be weighed", hint="nbctl home status says more", code="not_weighed")
    emit(call, message, lambda: views.usage(call, view))
    return 0


def restore(call: Call) -> int:
    """Exit code 1 where something could not be brought back."""
    args, home = call.args, home_of_caller()
    if args.in_place and args.to is not None:
        raise InvalidInput("--in-place and --to say two places", hint="give one of them", code="wrong_use")
    # Made absolute here: core does not know where the person stands.
    to = home if args.in_place else "" if args.to is None else os.path.abspath(os.path.expanduser(args.to))  # noqa: PTH100, PTH111
    at = None if args.at is None else moment_of(args.at, call.now)
    path = in_home(args.path)
    if args.in_place and not args.yes:
        what = f"{path or 'all of your home'} goes back to its place in {home}: what is there now under the same names is replaced."
        ask(call, "restore", lambda: call.err.tell(what), "Go on")
    message = _restored(call, RestoreRequest(path, args.snapshot or "", at, to))
    view = typed(RestoreView, message)
    emit(call, message, lambda: views.restored(call, view))
    return 1 if view.damaged or view.skipped else 0


def _restored(call: Call, asked: RestoreRequest) -> Any:
    """The last that was told."""
    message: Any = None
    with Live(call.err, shown=not call.json) as live:
        began = time.monotonic()
        for line in call.client.lines("POST", "/v1/home/restore", body=asked):
            message = parsed(line.encode())
            if "error" in message:
                raise problem_error(message["error"])
            live.draw([views.restoring(live.screen, typed(RestoreView, message), time.monotonic() - began)])
    if message is None or not typed(RestoreView, message).done:
        raise Unreachable("nbd broke off while it restored", hint="restore again: what is there already is left alone", code="broken_off")
    return message


def verify(call: Call) -> int:
    """Exit code 1 where something is damaged. As a stream, for it may take long: that is fine while core answers."""
    message = parsed("".join(call.client.lines("POST", "/v1/home/verify")).encode())
    view = typed(VerifyView, message)
    emit(call, message, lambda: views.verified(call, view))
    return 0 if view.good else 1


def ask(call: Call, verb: str, tell: Any, question: str) -> None:
    """Returns when the person said yes. Raises InvalidInput where there is nobody to ask."""
    if call.json or not sys.stdin.isatty() or not call.err.stream.isatty():
        raise InvalidInput(f"{verb} asks a person first, and there is no terminal", hint="--yes does it without asking", code="wrong_use")
    tell()
    call.err.stream.write(f"{question}? [y/N] ")
    call.err.stream.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NbdError("nothing was done", code="not_confirmed")


def home_of_caller() -> str:
    """As core knows it, from the account: HOME may say anything."""
    return os.path.abspath(pwd.getpwuid(os.geteuid()).pw_dir)  # noqa: PTH100 - text


def in_home(path: str) -> str:
    try:
        here = os.getcwd()  # noqa: PTH109 - pathlib would cost 4 ms of every start
    except OSError:
        here = "/"  # The folder is gone: perhaps it is what is to be restored.
    return below(path, os.path.realpath(home_of_caller()), here)


def below(path: str, home: str, here: str) -> str:
    """A path as it is below the home. Who stands in their home means it from there, as with every other program; elsewhere, from the home. What is
    not below it goes to core as it is, which says so. `home` and `here` have no link in them."""
    if path.startswith("~"):
        return path
    inside = f"{here}/".startswith(f"{home}/")
    if not os.path.isabs(path) and not inside:  # noqa: PTH117
        return path
    folder, name = os.path.split(os.path.normpath(os.path.join(here, path)))  # noqa: PTH118
    full = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
    if full == home:
        return ""
    return os.path.relpath(full, home) if full.startswith(f"{home}/") else path


SNAPSHOT = Arg(("snapshot",), "the beginning of its id, or latest", metavar="SNAPSHOT", words=Words.SNAPSHOTS)
YES = Arg(("-y", "--yes"), "do not ask", kind=None)
HOME = Verb(
    "home",
    "your home: how it is kept, and getting back what is gone",
    verbs=(
        Verb("status", "tell how your home is kept", status),
        Verb(
            "snapshots",
            "list what is kept, newest first",
            snapshots,
            (
                Arg(("-a", "--all"), "also the older ones that have no name", kind=None),
                Arg(("--ids",), "only the ids, one a line", kind=None),
            ),
        ),
        Verb(
            "ls",
            "list a folder of a snapshot",
            ls,
            (SNAPSHOT, Arg(("path",), "a folder (else all of the home)", metavar="PATH", optional=True, words=Words.FILES)),
        ),
        Verb(
            "diff",
            "tell what differs between two snapshots",
            diff,
            (
                Arg(("a",), "a snapshot", metavar="A", words=Words.SNAPSHOTS),
                Arg(("b",), "another (latest)", metavar="B", default="latest", optional=True, words=Words.SNAPSHOTS),
            ),
        ),
        Verb("versions", "list the states that a file had", versions, (Arg(("path",), "the file", metavar="PATH", words=Words.FILES),)),
        Verb(
            "restore",
            "bring something back, into a new folder unless told otherwise",
            restore,
            (
                Arg(("path",), "what; ~ is all of your home", metavar="PATH", words=Words.FILES),
                Arg(("--at",), 'as it was then: 14:05, "yesterday 14:05", 2026-11-20, 90min (ago)', metavar="TIME"),
                Arg(("--snapshot",), "from this snapshot (else the newest that has it)", metavar="SNAPSHOT", words=Words.SNAPSHOTS),
                Arg(("--to",), "below this folder; what is in the way is replaced", metavar="DIR", words=Words.FILES),
                Arg(("--in-place",), "where it was; what is in the way is replaced", kind=None),
                YES,
            ),
        ),
        Verb("usage", "tell what takes the room, and what of it is kept", usage),
        Verb("verify", "read all that is kept, and prove it", verify),
        ATTACHED,
        Verb("confirm", "say that much is gone on purpose", confirm, (YES,)),
        *CARE,
    ),
)
