"""How verbs print: JSON as core said it, or lines for a person; and the words and colours that several of them share."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import Any

from ..messages import NotebookView
from .grammar import Call
from .render import Cell

STATE_STYLES = {
    "RUNNING": "green",
    "STARTING": "yellow",
    "STOPPING": "yellow",
    "PARKED": "cyan",
    "FROZEN": "cyan",
    "STOPPED": "dim",
    "DELETING": "dim",
    "FAILED": "red",
    "ERROR": "red",
}


def emit(call: Call, message: Any, human: Callable[[], None]) -> None:
    """One JSON value on one line, ASCII only (so that no terminal and no locale can mind), or what `human` prints."""
    if call.json:
        call.out.raw(json.dumps(message))
    else:
        human()


def me() -> str:
    """Who core takes the caller for: SO_PEERCRED carries the effective uid."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def label(view: NotebookView) -> str:
    """The name by which the caller can name it."""
    return view.name if view.owner == me() else f"{view.owner}/{view.name}"


def state(view: NotebookView, *, unicode: bool) -> Cell:
    return Cell(f"● {view.state}" if unicode else view.state, STATE_STYLES.get(view.state, ""))
