"""The verbs that end snapshots: by the rules of retention, or one by name."""

from __future__ import annotations

import sys
from typing import Any

from ..errors import InvalidInput, NbdError, NotFound
from ..homemessages import ForgetRequest, PruneRequest, PruneView
from ..messages import SnapshotView
from .client import parsed, typed, typed_all
from .grammar import Arg, Call, Verb
from .output import emit
from .render import Cell, table
from .text import amount, moment

SHORT = 12


def prune(call: Call) -> int:
    asked = PruneRequest(call.args.dry_run, call.args.user or "")
    # As a stream: it may take long, which is fine while core answers.
    message = parsed("".join(call.client.lines("POST", "/v1/home/prune", body=asked)).encode())
    view = typed(PruneView, message)
    emit(call, message, lambda: _tell_pruned(call, view))
    return 0


def _tell_pruned(call: Call, view: PruneView) -> None:
    out = call.out
    rows = [
        (
            Cell(one.snapshot.id[:SHORT], "bold"),
            moment(one.snapshot.time, call.now),
            one.snapshot.event,
            Cell(", ".join(one.reasons), "green") if one.reasons else Cell("dropped" if view.done else "would be dropped", "yellow"),
        )
        for one in view.snapshots
    ]
    out.say_all(table(out, ("SNAPSHOT", "TAKEN", "AT", "KEPT AS"), rows) if rows else [])
    gone = sum(not one.reasons for one in view.snapshots)
    done = "is dropped" if gone == 1 else "are dropped"
    told = f"{gone} of {len(view.snapshots)} {'snapshot' if len(view.snapshots) == 1 else 'snapshots'} {done if view.done else 'would be dropped'}"
    out.tell(f"{told}; {amount(view.freed_bytes)} are needed by nothing{' then' if not view.done else ''}, and deleted a day after that was seen.")


def forget(call: Call) -> int:
    listed = typed_all(SnapshotView, call.client.get("/v1/home/snapshots"))
    asked = call.args.snapshot
    found = [one for one in listed if asked and one.id.startswith(asked)]
    if not found:
        raise NotFound(f"you have no snapshot {asked[:70]!r}", hint="see: nbctl home snapshots")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} snapshots have an id that begins with {asked!r}", hint="say more of it", code="ambiguous")
    if not call.args.yes:
        _confirm(call, found[0])
    message: Any = call.client.post("/v1/home/forget", body=ForgetRequest(found[0].id))
    view = typed(SnapshotView, message)
    emit(call, message, lambda: call.out.tell(f"snapshot {view.id[:SHORT]} of {moment(view.time, call.now)} is forgotten."))
    return 0


def _confirm(call: Call, view: SnapshotView) -> None:
    if call.json or not sys.stdin.isatty() or not call.err.stream.isatty():
        raise InvalidInput("forget asks a person to type the id, and there is no terminal", hint="--yes forgets it without asking", code="wrong_use")
    short, what = view.id[:SHORT], f"{view.event} {view.name}".strip()
    call.err.say("This forgets snapshot ", Cell(short, "bold"), f" of {moment(view.time, call.now)} ({what}) for good.")
    call.err.tell("What only it has cannot be brought back.")
    call.err.stream.write(f"Type {short} to forget it: ")
    call.err.stream.flush()
    if sys.stdin.readline().strip() != short:
        raise NbdError("nothing was forgotten: that is not its id", code="not_confirmed")


CARE = (
    Verb(
        "prune",
        "drop the snapshots that are not to be kept, and tell why the others stay",
        prune,
        (
            Arg(("-n", "--dry-run"), "only tell what would be dropped", kind=None),
            Arg(("--user",), "another person's (admins)", metavar="USER"),
        ),
    ),
    Verb(
        "forget",
        "drop one snapshot for good, also one with a name",
        forget,
        (Arg(("snapshot",), "the beginning of its id", metavar="SNAPSHOT"), Arg(("-y", "--yes"), "do not ask for the id", kind=None)),
    ),
)
