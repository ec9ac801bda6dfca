"""The verbs of a home: how it is kept, what is kept of it, and getting something back."""

from __future__ import annotations

import datetime
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InvalidInput, Unreachable
from ..messages import DifferenceView, EntryView, HomeView, RestoreRequest, RestoreView, SnapshotView, Unkept, UnsavedView, VerifyView
from .client import parsed, problem_error, quoted, typed, typed_all
from .grammar import Arg, Call, Verb, Words
from .output import emit
from .render import Cell, Live, facts, table
from .text import ago, amount, moment, running

SHORT = 12
SHOWN = 20
LETTERS = {"folder": "d", "link": "l", "pipe": "p", "socket": "s", "character": "c", "block": "b", "skipped": "?"}
SOURCES = {"fanotify": "the kernel (fanotify)", "inotify": "the kernel, folder by folder (inotify)", "looks": "nothing; looked at again and again"}
CHANGES = {"added": "green", "deleted": "red", "changed": "yellow", "renamed": "cyan"}
TIMES = ("%H:%M", "%H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


def status(call: Call) -> int:
    message = call.client.get("/v1/home")
    emit(call, message, lambda: _tell_status(call, typed(HomeView, message)))
    return 0


def confirm(call: Call) -> int:
    message = call.client.post("/v1/home/confirm")
    emit(call, message, lambda: _tell_status(call, typed(HomeView, message)))
    return 0


def _tell_status(call: Call, view: HomeView) -> None:
    out = call.out
    good = not view.trouble and view.sentence.startswith("protected")
    when = f" {ago(view.protected, call.now)}" if good and view.protected else ""
    out.say(Cell(view.path, "bold"), "  ", Cell(view.sentence.replace("protected", f"protected{when}", 1), "green" if good else "yellow"))
    if view.hint:
        out.tell(f"  hint: {view.hint}", "yellow")
    pairs: list[tuple[str, Cell | str]] = [
        ("in use", "yes" if view.watched else "no"),
        ("kept at", view.store),
        ("all is kept up to", moment(view.protected, call.now)),
        ("being saved" if good else "not saved", changed(view.unsaved, call.now) if view.unsaved else ""),
        ("changes told by", SOURCES.get(view.source, view.source)),
        ("because", view.source_why if view.watched else ""),
        ("all looked at", moment(view.proved, call.now)),
        ("trouble since", moment(view.since, call.now)),
        ("pending", ", ".join(view.pending)),
        ("cannot be kept", str(view.unkept_count) if view.unkept_count else ""),
    ]
    out.say_all(facts(out, pairs))
    out.say_all([out.line(f"  {line}") for line in reasons(view.unkept)])


def changed(unsaved: UnsavedView, now: float) -> str:
    """ "2 files (5.0 KiB), since 0.4 s"."""
    if not unsaved.folders:
        what = "all is looked at"
    elif unsaved.files:
        what = f"{unsaved.files} file{'s' if unsaved.files > 1 else ''} ({amount(unsaved.bytes)})"
    else:
        what = f"changes in {unsaved.folders} folder{'s' if unsaved.folders > 1 else ''}"
    if unsaved.since is None:
        return what
    return f"{what}, since {running(max(0.0, now - unsaved.since))}"


def reasons(unkept: Sequence[Unkept]) -> Iterator[str]:
    for one in unkept[:SHOWN]:
        yield f"{one.path}: {one.reason}"


def snapshots(call: Call) -> int:
    messages = call.client.get("/v1/home/snapshots")
    views = typed_all(SnapshotView, messages)
    emit(call, messages, lambda: _tell_snapshots(call, views))
    return 0


def _tell_snapshots(call: Call, views: Sequence[SnapshotView]) -> None:
    if not views:
        call.err.tell("no snapshots; nbctl home status says why")
        return
    rows = [(Cell(view.id[:SHORT], "bold"), moment(view.time, call.now), view.event, view.name) for view in views]
    call.out.say_all(table(call.out, ("SNAPSHOT", "TAKEN", "AT", "NAME"), rows))


def ls(call: Call) -> int:
    messages = call.client.get(f"/v1/home/ls?snapshot={quoted(call.args.snapshot)}&path={quoted(call.args.path or '')}")
    views = typed_all(EntryView, messages)
    rows = [
        (
            LETTERS.get(view.kind, "-") + stat.filemode(view.mode)[1:],
            f"{view.size} in it" if view.kind == "folder" else amount(view.size) if view.kind == "file" else "",
            Cell(ago(view.modified, call.now), "dim"),
            Cell(view.name, "bold" if view.kind == "folder" else ""),
            Cell(view.note, "dim"),
        )
        for view in views
    ]
    emit(call, messages, lambda: call.out.say_all(table(call.out, ("MODE", ">SIZE", "CHANGED", "NAME", "NOTE"), rows)))
    return 0


def diff(call: Call) -> int:
    messages = call.client.get(f"/v1/home/diff?a={quoted(call.args.a)}&b={quoted(call.args.b)}")
    views = typed_all(DifferenceView, messages)
    rows = [(Cell(view.change, CHANGES.get(view.change, "")), view.path, f"was {view.source}" if view.source else "") for view in views]
    emit(call, messages, lambda: call.out.say_all(table(call.out, ("", "PATH", "NOTE"), rows)) if rows else call.err.tell("no difference"))
    return 0


def restore(call: Call) -> int:
    """Exit code 1 where something could not be brought back."""
    args = call.args
    at = None if args.at is None else moment_of(args.at, call.now)
    # Made absolute here: core does not know where the person stands.
    to = "" if args.to is None else os.path.abspath(os.path.expanduser(args.to))  # noqa: PTH100, PTH111
    asked = RestoreRequest(args.path, args.snapshot or "", at, to)
    message: Any = None
    with Live(call.err, shown=not call.json) as live:
        began = time.monotonic()
        for line in call.client.lines("POST", "/v1/home/restore", body=asked):
            message = parsed(line.encode())
            if "error" in message:
                raise problem_error(message["error"])
            view = typed(RestoreView, message)
            told = f"restoring  {running(time.monotonic() - began)}  {view.entries} entries, {amount(view.bytes)}"
            live.draw([live.screen.line(told)])
    if message is None or not typed(RestoreView, message).done:
        raise Unreachable("nbd broke off while it restored", hint="restore again", code="broken_off")
    view = typed(RestoreView, message)
    emit(call, message, lambda: _tell_restored(call, view))
    return 1 if view.damaged or view.skipped else 0


def _tell_restored(call: Call, view: RestoreView) -> None:
    left = f"; {view.already} were there already" if view.already else ""
    taken = f"from snapshot {view.snapshot.id[:SHORT]} of {moment(view.snapshot.time, call.now)}"
    call.out.tell(f"{view.entries} entries ({amount(view.bytes)}) are back in {view.to}, {taken}{left}.", "green")
    call.err.say_all([call.err.painted(call.err.line(f"damaged: {line}"), "red") for line in reasons(view.damaged)])
    call.err.say_all([call.err.painted(call.err.line(f"not restored: {line}"), "yellow") for line in reasons(view.skipped)])


def verify(call: Call) -> int:
    """Exit code 1 where something is damaged. As a stream, for it may take long: that is fine while core answers."""
    message = parsed("".join(call.client.lines("POST", "/v1/home/verify")).encode())
    view = typed(VerifyView, message)
    emit(call, message, lambda: _tell_verified(call, view))
    return 0 if view.good else 1


def _tell_verified(call: Call, view: VerifyView) -> None:
    out = call.out
    looked = f"{view.snapshots} snapshots, {view.objects} packs, {amount(view.bytes)}"
    out.tell(f"all is as it was stored: {looked}" if view.good else f"there is damage: {looked}", "green" if view.good else "red")
    out.say_all([out.line(f"  {line}") for line in view.damages])
    out.say_all([out.line(f"  cannot be restored: {path}") for path in view.paths])


def moment_of(text: str, now: float) -> float:
    """Of "14:05" (today's, or yesterday's where that is still to come), "2026-11-20 14:05", "90min" ago. Raises InvalidInput."""
    ago_given = re.fullmatch(r"(\d+)\s*(s|min|h|d)", text)
    if ago_given:
        return now - int(ago_given[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[ago_given[2]]
    today = datetime.datetime.fromtimestamp(now).date()  # noqa: DTZ006 - the person's own clock
    for form in TIMES:
        try:
            found = datetime.datetime.strptime(text, form)  # noqa: DTZ007 - the person's own clock
        except ValueError:
            continue
        if not form.startswith("%H"):
            return found.timestamp()
        then = datetime.datetime.combine(today, found.time()).timestamp()
        return then if then <= now else then - 86400
    raise InvalidInput(f"{text!r} is no moment", hint='such as 14:05, "2026-11-20 14:05", or how long ago: 90min', code="wrong_use")


SNAPSHOT = Arg(("snapshot",), "the beginning of its id, or latest", metavar="SNAPSHOT")
HOME = Verb(
    "home",
    "your home: how it is kept, and getting back what is gone",
    verbs=(
        Verb("status", "tell how your home is kept", status),
        Verb("snapshots", "list what is kept", snapshots),
        Verb("ls", "list a folder of a snapshot", ls, (SNAPSHOT, Arg(("path",), "a folder, as it is in the home", metavar="PATH", optional=True))),
        Verb(
            "diff",
            "tell what differs between two snapshots",
            diff,
            (
                Arg(("a",), "a snapshot", metavar="A"),
                Arg(("b",), "another (latest)", metavar="B", default="latest", optional=True),
            ),
        ),
        Verb(
            "restore",
            "bring something back, into a new folder unless --to says where",
            restore,
            (
                Arg(("path",), "what, as it is in the home; . is all of it", metavar="PATH"),
                Arg(("--at",), "as it was at that moment: 14:05, 2026-11-20 14:05, 90min (ago)", metavar="TIME"),
                Arg(("--snapshot",), "from this snapshot (else the newest that has it)", metavar="SNAPSHOT"),
                Arg(("--to",), "below this folder; what is in the way is replaced", metavar="DIR", words=Words.FILES),
            ),
        ),
        Verb("verify", "read all that is kept, and prove it", verify),
        Verb("confirm", "say that much is gone on purpose", confirm),
    ),
)
