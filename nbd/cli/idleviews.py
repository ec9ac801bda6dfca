"""How idleness is told in a terminal: why, the policy, the last day, and what another policy would have done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..idlemessages import HappenedView, HistoryView, NextView, PolicyRow, ReplayView, WhyView
from .grammar import Call
from .render import Cell, Screen, facts, table
from .text import clock, span

MOODS = {"active": "green", "idle": "yellow", "unknown": "cyan", "parked": "cyan", "frozen": "cyan"}
MOST_ROWS = 40


def tell_why(call: Call, view: WhyView) -> None:
    out, now = call.out, call.now
    out.tell(view.sentence, "bold")
    if view.shadow:
        out.tell("Shadow: it is only said what would be done; nothing is.", "yellow")
    rows: list[tuple[Cell | str, ...]] = [
        (one.signal, f"{span(one.age)} ago", Cell(f"{one.weight:.2f}", "green" if one.weight >= 1 else "dim"), one.text) for one in view.evidence
    ]
    rows += [(Cell(one.source, "cyan"), "", Cell("unknown", "cyan"), one.why) for one in view.unknown]
    if rows:
        out.raw("")
        out.say_all(table(out, ("EVIDENCE", ">SEEN", ">WEIGHT", "WHAT"), rows))
    out.raw("")
    out.say_all(facts(out, list(_facts(view, now))))
    if view.notice:
        out.raw("")
        out.tell(view.notice.text, "yellow")


def _facts(view: WhyView, now: float) -> Iterator[tuple[str, Cell | str]]:
    yield "verdict", Cell(f"{view.verdict}{f', since {clock(view.since, now)}' if view.since else ''}", MOODS.get(view.verdict, ""))
    if view.verdict == "idle":
        yield "idle for", span(view.idle_seconds)
    yield "kept until", Cell(clock(view.kept_until, now), "green") if view.kept_until else ""
    if view.next:
        yield "next", next_text(view.next, now)
        yield "announced", clock(view.next.warn, now) if view.next.warn and view.next.due else ""
        yield "whose rule", view.next.rule if view.next.rule not in view.next.text else ""
    if view.not_before:
        yield "not before", clock(view.not_before, now)
    for what, why in view.cannot.items():
        yield f"cannot {what}", Cell(why, "yellow")


def next_text(next: NextView, now: float) -> str:
    """ "its GPU is given back, at 14:32 (in 25 min)"."""
    return f"{next.text}, at {clock(next.due, now)} (in {span(max(0.0, next.due - now))})" if next.due else next.text


def tell_policy(call: Call, view: WhyView) -> None:
    call.out.say_all(policy_lines(call.out, view.policy))
    loosened = [row.key for row in view.policy if row.own]
    if loosened:
        call.out.raw("")
        call.out.tell(f"Yours to set tighter: {', '.join(loosened)}. Such as: nbctl idle set {view.name} {loosened[0]}=10min", "dim")


def policy_lines(screen: Screen, policy: Sequence[PolicyRow]) -> Iterator[str]:
    yield from table(screen, ("SETTING", "VALUE", "WHOSE WORD"), [(row.key, Cell(row.value, "bold"), row.origin) for row in policy])


def tell_history(call: Call, view: HistoryView) -> None:
    out, now = call.out, call.now
    dated: list[tuple[float, tuple[Cell | str, ...]]] = [
        (one.begin, (clock(one.begin, now), span(one.end - one.begin), Cell(one.what, MOODS.get(one.what, "")), "")) for one in view.moods
    ]
    dated += [(one.time, (clock(one.time, now), "", Cell(one.step, "bold"), one.text)) for one in view.happened]
    rows = [row for _, row in sorted(dated, key=lambda pair: pair[0])]
    if not rows:
        out.tell("nothing was seen yet")
        return
    if len(rows) > MOST_ROWS:
        out.tell(f"{len(rows) - MOST_ROWS} earlier ones are left out; all of them: --json", "dim")
    out.say_all(table(out, ("AT", ">LASTED", "WHAT", ""), rows[-MOST_ROWS:]))
    seen = [
        (lane.signal, str(len(lane.spans)), span(sum(one.end - one.begin for one in lane.spans)), lane.spans[-1].what)
        for lane in view.lanes
        if lane.spans
    ]
    if seen:
        out.raw("")
        out.say_all(table(out, ("EVIDENCE", ">TIMES", ">IN ALL", "LAST"), seen))


def tell_replay(call: Call, view: ReplayView) -> None:
    out = call.out
    out.say(Cell(f"{clock(view.begin, call.now)} to {clock(view.end, call.now)}", "bold"))
    for title, steps, free in (("this policy", view.steps, view.free_seconds), ("the present one", view.present, view.present_free_seconds)):
        out.raw("")
        out.tell(f"Under {title} its GPU would have been free for {span(free)}." if free else f"Under {title} its GPU would never have been free.")
        out.say_all(_step_lines(call, steps))
    if view.note:
        out.raw("")
        out.tell(view.note, "dim")


def _step_lines(call: Call, steps: Sequence[HappenedView]) -> Iterator[str]:
    if not steps:
        yield call.out.line("  nothing would have been done")
        return
    yield from table(call.out, ("AT", "STEP", "WHY"), [(clock(one.time, call.now), Cell(one.step, "bold"), one.text) for one in steps])
