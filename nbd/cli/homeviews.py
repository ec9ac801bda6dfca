"""How what core says of a home is printed for a person."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from ..messages import (
    DifferenceView,
    EntryView,
    FolderUseView,
    HomeView,
    LossView,
    RestoreView,
    SnapshotView,
    Unkept,
    UnsavedView,
    UsageView,
    VerifyView,
    VersionView,
)
from .grammar import Call
from .render import Cell, Screen, facts, table
from .text import ago, amount, moment, running

SHORT = 12
SHOWN = 20
NEWEST = 40
"""So many snapshots a person wants to see at once; the named ones are always among them."""
BAR = 24
LETTERS = {"folder": "d", "link": "l", "pipe": "p", "socket": "s", "character": "c", "block": "b", "skipped": "?"}
SOURCES = {"fanotify": "the kernel (fanotify)", "inotify": "the kernel, folder by folder (inotify)", "looks": "nothing; looked at again and again"}
CHANGES = {"added": ("+", "green"), "deleted": ("-", "red"), "changed": ("~", "yellow"), "renamed": (">", "cyan")}
LEVELS = {"warn": "yellow", "loud": "yellow", "over": "red"}


def status(call: Call, view: HomeView) -> None:
    out = call.out
    good = not view.trouble and view.sentence.startswith("protected")
    when = f" {ago(view.protected, call.now)}" if good and view.protected else ""
    out.say(Cell(view.path, "bold"), "  ", Cell(view.sentence.replace("protected", f"protected{when}", 1), "green" if good else "yellow"))
    if view.hint:
        out.tell(f"  hint: {view.hint}", "yellow")
    for alarm in view.alarms:
        out.tell(f"  {alarm}", "yellow")
    away = "" if "://" in view.store else "  (on this box: does not survive the loss of its disk)"
    pairs: list[tuple[str, Cell | str]] = [
        ("in use", "yes" if view.watched else "no"),
        ("kept at", view.store + away),
        ("all is kept up to", moment(view.protected, call.now)),
        ("being saved" if good else "not saved", changed(view.unsaved, call.now) if view.unsaved else ""),
        ("changes told by", SOURCES.get(view.source, view.source)),
        ("because", view.source_why if view.watched else ""),
        ("all looked at", moment(view.proved, call.now)),
        ("trouble since", moment(view.since, call.now)),
        ("pending", ", ".join(view.pending)),
        ("room", Cell(view.room.sentence, LEVELS.get(view.room.level, "")) if view.room else ""),
        ("cannot be kept", str(view.unkept_count) if view.unkept_count else ""),
    ]
    out.say_all(facts(out, pairs))
    if view.room and view.room.hint:
        out.tell(f"  hint: {view.room.hint}", "yellow")
    out.say_all([out.line(f"  {line}") for line in reasons(view.unkept)])


def changed(unsaved: UnsavedView, now: float) -> str:
    """ "2 files (5.0 KiB), since 0.4 s"."""
    if not unsaved.folders:
        what = "all is looked at"
    elif unsaved.files:
        what = f"{count(unsaved.files, 'file')} ({amount(unsaved.bytes)})"
    else:
        what = f"changes in {count(unsaved.folders, 'folder')}"
    if unsaved.since is None:
        return what
    return f"{what}, since {running(max(0.0, now - unsaved.since))}"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def reasons(unkept: Sequence[Unkept]) -> Iterator[str]:
    for one in unkept[:SHOWN]:
        yield f"{one.path}: {one.reason}"


def snapshots(call: Call, views: Sequence[SnapshotView]) -> None:
    if not views:
        call.err.tell("no snapshots; nbctl home status says why")
        return
    shown = views if call.args.all else [view for number, view in enumerate(views) if number < NEWEST or view.name]
    rows = [
        (Cell(view.id[:SHORT], "bold"), moment(view.time, call.now), view.event, Cell(view.name, "green"))
        for view in shown
    ]  # fmt: skip
    call.out.say_all(table(call.out, ("SNAPSHOT", "TAKEN", "AT", "NAME"), rows))
    if len(shown) < len(views):
        call.err.tell(f"{len(views) - len(shown):,} older ones without a name: --all")


def entries(call: Call, views: Sequence[EntryView]) -> None:
    rows = [
        (
            LETTERS.get(view.kind, "-") + stat.filemode(view.mode)[1:],
            f"{view.size:,} in it" if view.kind == "folder" else amount(view.size) if view.kind == "file" else "",
            Cell(ago(view.modified, call.now), "dim"),
            Cell(view.name, "bold" if view.kind == "folder" else ""),
            Cell(view.note, "dim"),
        )
        for view in sorted(views, key=lambda view: (view.kind != "folder", view.name))
    ]
    if not rows:
        call.err.tell("nothing is in it")
    call.out.say_all(table(call.out, ("MODE", ">SIZE", "CHANGED", "NAME", "NOTE"), rows) if rows else [])


def differences(call: Call, views: Sequence[DifferenceView]) -> None:
    """A folder of which nothing but its times or rights changed is counted, not told: each new file changes the one it is in."""
    told = [view for view in views if (view.kind, view.change) != ("folder", "changed")]
    rows = [
        (
            Cell(f"{CHANGES[view.change][0]} {view.change}" if view.change in CHANGES else view.change, CHANGES.get(view.change, ("", ""))[1]),
            view.path + ("/" if view.kind == "folder" else ""),
            Cell(resized(view), "dim"),
            Cell(f"was {view.source}" if view.source else "", "dim"),
        )
        for view in told
    ]
    call.out.say_all(table(call.out, ("", "PATH", ">SIZE", "NOTE"), rows) if rows else [])
    left = len(views) - len(told)
    if left:
        call.err.tell(f"{'and of' if told else 'only of'} {count(left, 'folder')} the times or rights")
    elif not told:
        call.err.tell("no difference")


def resized(view: DifferenceView) -> str:
    if view.kind != "file" or (view.before is None and view.after is None):
        return ""
    if view.before is None or view.after is None or view.before == view.after:
        return amount(view.after if view.after is not None else view.before or 0)
    return f"{amount(view.before)} -> {amount(view.after)}"


def versions(call: Call, views: Sequence[VersionView]) -> None:
    if not views:
        call.err.tell("no snapshot has it; is it a path as it was in the home?")
        return
    rows = [
        (
            Cell(view.snapshot.id[:SHORT], "bold"),
            moment(view.first.time, call.now),
            amount(view.size) if view.kind == "file" else view.kind or Cell("was not there", "dim"),
            Cell(view.snapshot.name, "green"),
        )
        for view in views
    ]
    call.out.say_all(table(call.out, ("SNAPSHOT", "SINCE", ">SIZE", "NAME"), rows))


def restoring(screen: Screen, view: RestoreView, seconds: float) -> str:
    """One line while it goes on."""
    if view.waiting:
        return screen.line(f"waiting for {count(view.waiting, 'other restore')} to end  {running(seconds)}")
    done = view.entries + view.already + len(view.skipped) + len(view.damaged)
    if not view.total:
        return screen.line(f"restoring  {running(seconds)}  {done:,} names, {amount(view.bytes)}")
    share = min(1.0, done / view.total)
    told = f"{done:,} of {view.total:,} names, {amount(view.bytes)}, {running(seconds)}"
    return screen.line(f"restoring  {screen.bar(share, BAR)} {share:4.0%}  {told}")


def restored(call: Call, view: RestoreView) -> None:
    left = f"; {view.already:,} were there already" if view.already else ""
    taken = f"from snapshot {view.snapshot.id[:SHORT]} of {moment(view.snapshot.time, call.now)}"
    what = f"{count(view.entries, 'name')} ({amount(view.bytes)}) {'is' if view.entries == 1 else 'are'}"
    call.out.tell(f"{what} back in {view.to}, {taken}{left}.", "green")
    call.err.say_all([call.err.painted(call.err.line(f"damaged: {line}"), "red") for line in reasons(view.damaged)])
    call.err.say_all([call.err.painted(call.err.line(f"not restored: {line}"), "yellow") for line in reasons(view.skipped)])


def verified(call: Call, view: VerifyView) -> None:
    out = call.out
    looked = f"{count(view.snapshots, 'snapshot')}, {count(view.objects, 'pack')}, {amount(view.bytes)}"
    out.tell(f"all is as it was stored: {looked}" if view.good else f"there is damage: {looked}", "green" if view.good else "red")
    out.say_all([out.line(f"  {line}") for line in view.damages])
    out.say_all([out.line(f"  cannot be restored: {path}") for path in view.paths])


def losses(call: Call, view: LossView) -> None:
    """On stderr: it is a part of a question."""
    err = call.err
    more = "" if view.whole else " or more"
    names = "name is" if view.entries == 1 and view.whole else "names are"
    err.tell(f"{view.entries:,}{more} {names} in the newest snapshot and not in your home any more:")
    for one in view.gone[:SHOWN]:
        folder = one.kind == "folder"
        err.say(f"  {one.path}{'/' if folder else ''}", Cell(f"  with {one.entries - 1:,} below it" if folder else "", "dim"))
    if len(view.gone) > SHOWN:
        err.tell("  …" if err.unicode else "  ...")
    err.tell("The next snapshot will be without them; the earlier ones keep them, as long as these are kept.")


def usage(call: Call, view: UsageView) -> None:
    out = call.out
    weighed = Cell(f", weighed {ago(view.measured, call.now)}", "dim")
    out.say(Cell(view.path, "bold"), f"  {amount(view.bytes)} in {count(view.files, 'file')}", weighed)
    if view.room:
        out.tell(f"  {view.room.sentence}", LEVELS.get(view.room.level, ""))
    cost = f", {view.cost}" if view.cost else ""
    stored = "" if view.stored is None else f"{amount(view.stored)} in {count(view.snapshots or 0, 'snapshot')}{cost}"
    unseen = f"{count(view.unseen, 'folder')} of others, or of other disks" if view.unseen else ""
    out.say_all(facts(out, [("in the store", stored), ("not counted", unseen if view.whole else f"more than {view.files:,} files")]))
    if view.folders:
        out.raw("")
        out.say_all(table(out, (">SIZE", "", "FOLDER"), list(folder_rows(out, view.folders))))
    if view.excluded:
        out.raw("")
        out.say(f"{amount(view.excluded_bytes)} excluded from snapshots:")
        out.say_all(table(out, (">SIZE", "WHERE", "RULE"), [(amount(one.bytes), one.path, Cell(one.rule, "dim")) for one in view.excluded]))
    if view.culprits:
        out.raw("")
        out.say("What you may not need, and how to be rid of it:")
        for culprit in view.culprits:
            place = f"  {culprit.place}" if culprit.place else ""
            out.say(f"{amount(culprit.bytes):>9}  ", Cell(culprit.title, "bold"), place, Cell(f"  {culprit.advice}", "dim"))
            out.raw("           " + out.painted(culprit.command, "cyan"))


def folder_rows(out: Screen, folders: Sequence[FolderUseView]) -> Iterator[tuple[str, Cell, Cell]]:
    """Largest first, each followed by what is in it."""
    most = max(one.bytes for one in folders)
    above = {one.path: [other for other in folders if os.path.dirname(other.path) == one.path] for one in folders}  # noqa: PTH120 - text

    def told(some: Sequence[FolderUseView], depth: int) -> Iterator[tuple[str, Cell, Cell]]:
        for one in sorted(some, key=lambda one: -one.bytes):
            left_out = one.excluded > one.bytes / 2
            name = "  " * depth + os.path.basename(one.path) + "/"  # noqa: PTH119 - text
            yield amount(one.bytes), Cell(out.bar(one.bytes / most, BAR), "dim" if left_out else "green"), Cell(name, "" if depth else "bold")
            yield from told(above[one.path], depth + 1)

    return told([one for one in folders if os.path.dirname(one.path) not in above], 0)  # noqa: PTH120 - text
