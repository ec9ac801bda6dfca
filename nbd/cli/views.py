"""The verbs that only look: ls, show, gpus, top, status."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import InvalidInput, NotFound
from ..messages import CardView, GpusView, NotebookView, RunView, StatusView
from .client import route, typed, typed_all
from .grammar import Arg, Call, Verb
from .idleviews import next_text
from .notebooks import NAME
from .output import emit, label, state
from .render import Cell, Live, Screen, facts, table
from .text import ago, log_line, moment, phases, took, used_of

SHOWN_RUNS = 5
REFRESH_SECONDS = 2.0
SIMULATED = " SIMULATED GPUs: nbd plays these cards. Nothing computes on them. "
NAMES = Arg(("--names",), "only the names, one a line", kind=None)


def ls(call: Call) -> int:
    messages = call.client.get("/v1/notebooks?all=1" if call.args.all else "/v1/notebooks")
    views = typed_all(NotebookView, messages)
    if call.args.names:
        emit(call, [label(view) for view in views], lambda: call.out.say_all([call.out.line(label(view)) for view in views]))
        return 0
    emit(call, messages, lambda: _tell_notebooks(call, views))
    return 0


def _tell_notebooks(call: Call, views: Sequence[NotebookView]) -> None:
    if views:
        call.out.say_all(notebook_table(call.out, views, call.now))
    else:
        call.err.tell("no notebooks; make one: nbctl start")


def notebook_table(screen: Screen, views: Sequence[NotebookView], now: float) -> Iterator[str]:
    rows = [
        (
            Cell(label(view), "bold"),
            state(view, unicode=screen.unicode),
            view.profile,
            ", ".join(view.gpus),
            Cell(ago(since(view), now), "dim"),
            coming(view, now) if view.state == "RUNNING" else view.sentence,
        )
        for view in sorted(views, key=lambda view: (view.owner, view.name))
    ]
    yield from table(screen, ("NAME", "STATE", "PROFILE", "GPU", "SINCE", "WHY"), rows)


def coming(view: NotebookView, now: float) -> str:
    """What is done to one that runs, as long as it is in sight."""
    if view.next is None or view.next.due is None or view.verdict != "idle":
        return ""
    return f"idle; {next_text(view.next, now)}"


def since(view: NotebookView) -> float | None:
    """The moment that the present state is best dated by."""
    if view.state == "STARTING":
        return view.started
    if view.state in ("STOPPED", "FAILED", "ERROR", "DELETING"):
        return view.ended or view.created
    return view.started or view.created


def show(call: Call) -> int:
    path = route("notebooks", call.args.name)
    message = call.client.get(path)
    view = typed(NotebookView, message)
    if call.json:
        emit(call, message, lambda: None)
        return 0
    runs = typed_all(RunView, call.client.get(f"{path}/runs"))
    _tell_notebook(call, view)
    earlier = [run for run in runs if run.number != view.run or run.ended]
    if earlier:
        call.out.raw("")
        call.out.say_all(run_table(call.out, earlier[:SHOWN_RUNS], call.now))
    return 0


def _tell_notebook(call: Call, view: NotebookView) -> None:
    out, now = call.out, call.now
    out.say(Cell(f"{view.owner}/{view.name}", "bold"), "  ", state(view, unicode=out.unicode))
    if view.sentence:
        out.tell(f"  {view.sentence}")
    if view.hint:
        out.tell(f"  hint: {view.hint}", "yellow")
    out.raw("")
    lease = view.lease
    card_facts = f"{', '.join(view.gpus)} ({lease.sharing}, since {moment(lease.since, now)})" if lease else ", ".join(view.gpus)
    pairs: list[tuple[str, Cell | str]] = [
        ("profile", view.profile),
        ("editor", view.editor),
        ("GPU", card_facts),
        ("attached", ", ".join(f"{one.url} at {one.path}{' (read-write)' if one.writable else ''}" for one in view.attach)),
        ("waits", f"number {view.waiting.position} in line, since {moment(view.waiting.since, now)}" if view.waiting else ""),
        ("verdict", f"{view.verdict}; why: nbctl why {label(view)}" if view.verdict else ""),
        ("next", next_text(view.next, now) if view.next and view.next.due else ""),
        *((f"cannot {what}", why) for what, why in view.cannot.items()),
        ("trouble", Cell(view.trouble, "red")),
        ("notice", Cell(view.notice.text, "yellow") if view.notice else ""),
        ("address", Cell(view.url, "cyan") if view.state in ("RUNNING", "PARKED", "FROZEN") else ""),
        ("started", moment(view.started, now)),
        ("phases", phases(dict(view.phases))),
        ("ended", moment(view.ended, now)),
        ("because", view.stop_reason or ""),
        ("created", moment(view.created, now)),
        ("runs", str(view.run or "")),
        ("container", (view.container or "")[:12]),
        ("id", view.id),
    ]
    out.say_all(facts(out, pairs))
    if view.failure:
        _tell_failure(call, view)


def _tell_failure(call: Call, view: NotebookView) -> None:
    failure = view.failure
    if failure is None:
        return
    call.out.raw("")
    if failure.message != view.sentence:
        call.out.tell(f"  {failure.message}", "red")
    if failure.hint and failure.hint != view.hint:
        call.out.tell(f"  hint: {failure.hint}", "yellow")
    if failure.log:
        call.out.tell("  the editor's last lines:", "dim")
        call.out.say_all([f"  | {log_line(line)}" for line in failure.log])


def run_table(screen: Screen, runs: Sequence[RunView], now: float) -> Iterator[str]:
    rows = [
        (
            str(run.number),
            ago(run.started, now),
            took((run.ended or now) - run.started),
            took(sum(run.phases.values())) if run.phases else "",
            run.stop_reason or "",
        )
        for run in runs
    ]
    yield from table(screen, (">RUN", "STARTED", ">LASTED", ">START TOOK", "ENDED BY"), rows)


def gpus(call: Call) -> int:
    if call.args.release:
        uuid = _full_uuid(typed(GpusView, call.client.get("/v1/gpus")), call.args.release)
        message = call.client.post(route("gpus", uuid) + "/release")
    else:
        message = call.client.get("/v1/gpus")
    view = typed(GpusView, message)
    emit(call, message, lambda: call.out.say_all(gpu_lines(call.out, view)))
    return 0


def _full_uuid(view: GpusView, start: str) -> str:
    """The card whose UUID begins so: the table shows only the beginning."""
    found = [card.uuid for card in view.cards if card.uuid.startswith(start)]
    if not found:
        raise NotFound(f"no GPU's UUID begins with {start!r}", hint="nbctl gpus")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} GPUs have a UUID that begins with {start!r}", hint="say more of it: nbctl gpus --json", code="ambiguous")
    return found[0]


def gpu_lines(screen: Screen, view: GpusView) -> Iterator[str]:
    if view.simulated:
        yield screen.line(Cell(SIMULATED, "alarm"))
    if view.cards:
        yield from table(screen, ("CARD", "UUID", "", "MEMORY", ">USE", ">TEMP", ">POWER", "HOLDER"), [card_row(screen, card) for card in view.cards])
    if view.reason or not view.cards:
        yield screen.painted(screen.line(view.reason or "no GPU in this machine"), "yellow")
    for card in view.cards:
        if card.quarantine:
            yield screen.line(Cell(f"{short(card)} is quarantined: ", "red"), card.quarantine)
            yield screen.line(Cell(f"  hint: when it is well again: nbctl gpus --release {short(card)}", "dim"))
    if view.queue:
        yield screen.line(Cell("queue: ", "dim"), ", ".join(f"{place}. {who}" for place, who in enumerate(view.queue, 1)))


def card_row(screen: Screen, card: CardView) -> tuple[Cell | str, ...]:
    fraction = None if card.used_bytes is None or not card.memory_bytes else card.used_bytes / card.memory_bytes
    busy = "" if fraction is None else "red" if fraction > 0.9 else "yellow" if fraction > 0.6 else "green"
    holder = Cell("quarantined", "red") if card.quarantine else Cell(", ".join(card.holders), "bold") if card.holders else Cell("free", "green")
    return (
        f"{card.name} {card.mig_profile}" if card.mig_profile else card.name,
        Cell(short(card), "dim"),
        Cell(screen.bar(fraction, 12) if fraction is not None and screen.terminal else "", busy),
        used_of(card.used_bytes, card.memory_bytes),
        "" if card.utilisation is None else f"{card.utilisation * 100:.0f} %",
        "" if card.temperature_celsius is None else f"{card.temperature_celsius} °C" if screen.unicode else f"{card.temperature_celsius} C",
        "" if card.power_watts is None else f"{card.power_watts:.0f} W",
        holder,
    )


def short(card: CardView) -> str:
    return card.uuid[:12]


def top(call: Call) -> int:
    if call.json or not call.out.terminal:
        messages = _both(call)
        emit(call, messages, lambda: call.out.say_all(_frame(call.out, messages)))
        return 0
    with suppress(KeyboardInterrupt), Live(call.out, shown=True, whole=True) as live, single_keys():
        live.draw(list(_frame(call.out, _both(call))))
        while not _told_to_leave():
            live.draw(list(_frame(call.out, _both(call))))
    return 0


@contextmanager
def single_keys() -> Iterator[None]:
    """Keys arrive as they are typed, unseen; the terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _both(call: Call) -> dict[str, Any]:
    return {"gpus": call.client.get("/v1/gpus"), "notebooks": call.client.get("/v1/notebooks?all=1")}


def _told_to_leave() -> bool:
    """Waits for the next refresh; True when the person types q or ends the input."""
    if not sys.stdin.isatty():
        time.sleep(REFRESH_SECONDS)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], REFRESH_SECONDS)
    return bool(ready) and os.read(sys.stdin.fileno(), 1) in (b"q", b"")


def _frame(screen: Screen, messages: dict[str, Any]) -> Iterator[str]:
    views = typed_all(NotebookView, messages["notebooks"])
    yield screen.line(Cell(time.strftime("%H:%M:%S"), "bold"), Cell("  q leaves" if screen.terminal else "", "dim"))
    yield ""
    yield from gpu_lines(screen, typed(GpusView, messages["gpus"]))
    yield ""
    yield from notebook_table(screen, views, time.time()) if views else iter([screen.line(Cell("no notebooks", "dim"))])


def status(call: Call) -> int:
    message = call.client.get("/v1/status")
    view = typed(StatusView, message)
    emit(call, message, lambda: _tell_status(call, view))
    return 0


def _tell_status(call: Call, view: StatusView) -> None:
    out = call.out
    person = f"{view.person.name} (uid {view.person.uid}{', admin' if view.person.admin else ''})"
    counts = ", ".join(f"{count} {name.lower()}" for name, count in view.notebooks.items() if count) or "none"
    out.say(Cell(f"nbd {view.version}", "bold"), f" on {view.host}, up {took(call.now - view.started)}")
    out.say_all(facts(out, [("you", person), ("notebooks", counts), ("pages", Cell(view.web, "cyan"))]))
    if view.simulated_gpus:
        out.say("  ", Cell(SIMULATED, "alarm"))
    parts: list[tuple[str, Cell | str]] = [(name, Cell(word, "green" if word == "ok" else "red")) for name, word in view.parts.items()]
    out.raw("")
    out.say_all(facts(out, parts))


NOTEBOOK_VERBS = (
    Verb("ls", "list your notebooks", ls, (Arg(("-a", "--all"), "those of everybody, for admins", kind=None), NAMES)),
    Verb("show", "tell all about one notebook", show, (NAME,)),
)
MACHINE_VERBS = (
    Verb(
        "gpus",
        "show the GPUs, who holds them and who waits",
        gpus,
        (Arg(("--release",), "end the quarantine of a card (admins)", metavar="UUID"),),
    ),
    Verb("top", "watch GPUs and notebooks", top),
    Verb("status", "tell how nbd is", status),
)
