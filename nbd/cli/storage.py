"""The verbs of the store of all snapshots: for admins."""

from __future__ import annotations

from ..storemessages import PolicyView, RotationView, StorageView
from .client import parsed, quoted, typed
from .grammar import Arg, Call, Verb
from .output import emit
from .render import Cell, facts, table
from .text import amount


def status(call: Call) -> int:
    message = call.client.get("/v1/storage")
    emit(call, message, lambda: _tell(call, typed(StorageView, message)))
    return 0


def _tell(call: Call, view: StorageView) -> None:
    key = f"{view.key_file}  (its name: {view.key_name})"
    rotation = Cell("begun and not ended: nbctl admin storage rotate-key", "yellow") if view.rotating else ""
    call.out.say_all(facts(call.out, [("kept at", view.where), ("master key", key), ("its rotation", rotation)]))
    rows = [
        (one.kind, str(one.requests), str(one.errors), amount(one.sent_bytes), amount(one.received_bytes), f"{one.seconds:.1f} s")
        for one in view.traffic
    ]
    if rows:
        call.out.raw("")
        call.out.say_all(table(call.out, ("REQUESTS", ">TRIES", ">FAILED", ">SENT", ">RECEIVED", ">TIME"), rows))


def policy(call: Call) -> int:
    asked = f"?user={quoted(call.args.user)}" if call.args.user else ""
    message = call.client.get(f"/v1/storage/policy{asked}")
    view = typed(PolicyView, message)
    if call.args.document and not call.json:
        call.out.raw(view.document)
    else:
        emit(call, message, lambda: _tell_policy(call, view))
    return 0


def _tell_policy(call: Call, view: PolicyView) -> None:
    call.out.say(Cell(view.whose or "nbd sync", "bold"), f"  {view.place}")
    if view.document:
        call.out.raw(view.document)
    call.out.raw("")
    for step in view.steps:
        call.out.raw(step)


def rotate_key(call: Call) -> int:
    """Exit code 1 where a home is still under the former key. As a stream, for it may take long: that is fine while core answers."""
    message = parsed("".join(call.client.lines("POST", "/v1/storage/rotate-key")).encode())
    view = typed(RotationView, message)
    emit(call, message, lambda: _tell_rotation(call, view))
    return 1 if view.failed else 0


def _tell_rotation(call: Call, view: RotationView) -> None:
    call.out.tell(f"{view.homes} {'home is' if view.homes == 1 else 'homes are'} under the new master key {view.key_name}.", "green")
    call.err.say_all([call.err.painted(call.err.line(f"not yet: {line}"), "red") for line in view.failed])
    if view.failed:
        call.err.tell("the former key is kept beside it; say this again when these can be reached")
    call.out.tell(f"PUT A COPY OF {view.key_file} IN A SAFE PLACE NOW: who loses it loses every snapshot.", "bold")
    call.out.tell("Copies of the old key open nothing new.")


ADMIN = Verb(
    "admin",
    "what only admins may",
    verbs=(
        Verb(
            "storage",
            "the store of all snapshots",
            verbs=(
                Verb("status", "tell where it is, which key it is under, what it was asked", status),
                Verb(
                    "policy",
                    "print the least that the store must allow, for one person or for nbd sync",
                    policy,
                    (
                        Arg(("--user",), "of this person's snapshots alone", metavar="USER"),
                        Arg(("--document",), "the policy alone (S3)", kind=None),
                    ),
                ),
                Verb("rotate-key", "put every home under a new master key (root)", rotate_key),
            ),
        ),
    ),
)
