"""How things are said on the pages: states, sizes, times and names, for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..editors import EDITORS
from ..messages import NO_DRIVER, GpusView
from ..notebooks.model import Phase
from .homewords import plain

CAN_START = frozenset({"STOPPED", "FAILED", "ERROR"})
CAN_OPEN = frozenset({"RUNNING", "PARKED", "FROZEN"})
CAN_STOP = frozenset({"STARTING", "RUNNING", "PARKED", "FROZEN"})
STATE_WORDS = {
    "STARTING": "Starting",
    "RUNNING": "Running",
    "PARKED": "Parked",
    "FROZEN": "Frozen",
    "STOPPING": "Stopping",
    "STOPPED": "Stopped",
    "FAILED": "Failed",
    "ERROR": "Error",
    "DELETING": "Deleting",
    "WAITING": "In line",
}
PHASE_WORDS = {
    Phase.IMAGE: "Image",
    Phase.HOME: "Home",
    Phase.DATA: "Data",
    Phase.NETWORK: "Network",
    Phase.LEASE: "GPUs",
    Phase.CREATE: "Container",
    Phase.START: "Start",
    Phase.READY: "Editor ready",
}


def size(value: int | None) -> str:
    if value is None:
        return "unknown"
    gib = value / 1024**3
    return f"{gib:.3g} GiB" if gib >= 0.1 else f"{value / 1024**2:.0f} MiB"


def took(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "moments"


def clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def zone() -> str:
    """Of the box's clock, by which all times on the pages are told."""
    return time.strftime("%Z", time.localtime())


def waterfall(phases: Mapping[str, float]) -> list[dict[str, Any]]:
    """Finished phases in their order, each with where its bar begins and how long it is, in thousandths of the whole."""
    known = [(phase, phases[phase]) for phase in Phase if phase in phases]
    whole = sum(seconds for _, seconds in known) or 1.0
    rows, begun = [], 0.0
    for phase, seconds in known:
        rows.append({"phase": phase, "seconds": seconds, "x": round(1000 * begun / whole), "width": max(4, round(1000 * seconds / whole))})
        begun += seconds
    return rows


def sentence(text: str) -> str:
    """A capital and a full stop, for what was written to stand inside a line. What may be a name or a command keeps its letters."""
    text = text.strip()
    first = text.partition(" ")[0].rstrip(",:")
    opened = text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text
    return opened + ("" if not text or text[-1] in ".!?:" else ".")


def editor(name: str) -> str:
    return EDITORS[name].title if name in EDITORS else name


def card(name: str) -> str:
    """A model's name without its maker's, as people say it."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def cards(names: Sequence[str]) -> str:
    counted = {card(name): names.count(name) for name in names}
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counted.items())


def holders(who: Sequence[str], person: str) -> str:
    """Of "owner/name"s: the person's own by name alone."""
    return ", ".join("you · " + one.partition("/")[2] if one.startswith(person + "/") else one for one in who) or "free"


def none_of(gpus: GpusView) -> str:
    """Where no card is to be seen: whether there is none, or something is wrong. Why is for admins."""
    return "This box has no GPU." if not gpus.reason or gpus.reason.startswith(NO_DRIVER) else "The GPUs of this box cannot be used now."


FILTERS: Mapping[str, Callable[..., Any]] = {
    "size": size,
    "ago": ago,
    "clock": clock,
    "plain": plain,
    "took": took,
    "sentence": sentence,
    "editor": editor,
    "card": card,
    "cards": cards,
    "holders": holders,
    "none_of": none_of,
    "state": STATE_WORDS.get,
    "phase": PHASE_WORDS.get,
}
