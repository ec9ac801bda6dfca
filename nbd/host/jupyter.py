"""What a JupyterLab says of its kernels and terminals: `idle.ports.EditorStates`.

Asked in a way that counts as nobody's activity, not even in the server's own account of it. All of it is the word of a person's program: what has
not the form that Jupyter gives it is refused as a whole, and a name is no more than a line of printable text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from ..errors import Deadline, Unreachable
from ..idle.model import EditorLook, KernelLook, TerminalLook
from ..unixdoor import Place
from .editorline import Answer, Line, connected, nonsense

SECONDS = 5.0
UNTRACKED = "?no_track_activity=1"
KERNELS, TERMINALS, SESSIONS = (f"/api/{name}{UNTRACKED}" for name in ("kernels", "terminals", "sessions"))
NAMES_EVERY = 6
"""Looks: a notebook's new name is seen a minute later. A new kernel's is asked for at once."""
MOST = 256
"""Kernels, sessions, terminals of one notebook."""
NAME_CHARACTERS, ID_CHARACTERS = 80, 64
EDITOR = "jupyterlab"


class JupyterStates:
    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lines: dict[Place, Line] = {}

    async def look(self, place: Place, editor: str) -> EditorLook:
        if editor != EDITOR:
            raise Unreachable(f"an editor of the kind {editor!r} is not asked what it does", code="not_asked", retryable=False)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._look(place)
        except TimeoutError:
            raise Deadline(f"the editor did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Unreachable(f"the editor cannot be reached: {error.strerror or error}") from None

    async def close(self) -> None:
        while self._lines:
            self._lines.popitem()[1].close()

    async def _look(self, place: Place) -> EditorLook:
        # Taken out: nobody else asks over it meanwhile, and only one that is in order is put back.
        line = self._lines.pop(place, None)
        if line is not None and line.open:
            try:
                return await self._ask(place, line)
            except Unreachable as error:
                # A kept connection may have ended at any moment since: that says nothing of the editor.
                if error.code != "broken_off":
                    raise
        self._lines = {other: kept for other, kept in self._lines.items() if kept.open}
        return await self._ask(place, await connected(place))

    async def _ask(self, place: Place, line: Line) -> EditorLook:
        try:
            kernels, terminals = await line.ask((KERNELS, TERMINALS))
            found = [kernel_of(item) for item in listed(kernels, "kernels")]
            if any(kernel.id not in line.names for kernel in found) or (found and line.asked % NAMES_EVERY == 0):
                (sessions,) = await line.ask((SESSIONS,))
                line.names = {kernel.id: kernel.name for kernel in found} | names_of(sessions)
            # One that was started without terminals knows no such path.
            shown = [terminal_of(item) for item in listed(terminals, "terminals")] if terminals.status != 404 else []
        except BaseException:
            line.close()
            raise
        line.asked += 1
        if (other := self._lines.get(place)) is not None:
            other.close()
        self._lines[place] = line
        return EditorLook(tuple(named(kernel, line.names) for kernel in found), tuple(shown))


def listed(answer: Answer, what: str) -> list[Mapping[str, Any]]:
    if answer.status != 200:
        raise Unreachable(f"the editor answers {answer.status} when asked for its {what}", code="not_understood")
    try:
        items = json.loads(answer.body, parse_constant=refuse)
    except (ValueError, RecursionError):  # the second: nested a thousand deep
        raise nonsense(f"its {what} are not JSON") from None
    if not isinstance(items, list) or len(items) > MOST or not all(isinstance(item, dict) for item in items):
        raise nonsense(f"its {what} are no list of at most {MOST}")
    return items


def kernel_of(item: Mapping[str, Any]) -> KernelLook:
    connections = item.get("connections", 0)
    if type(connections) is not int or not 0 <= connections < 1 << 31:
        raise nonsense("a kernel's connections are no number")
    name, state = text(item, "name", NAME_CHARACTERS), text(item, "execution_state", ID_CHARACTERS)
    return KernelLook(text(item, "id", ID_CHARACTERS), name, state == "busy", moment(item), connections)


def terminal_of(item: Mapping[str, Any]) -> TerminalLook:
    return TerminalLook(text(item, "name", ID_CHARACTERS), moment(item))


def names_of(answer: Answer) -> dict[str, str]:
    """Kernel to what is open with it. A server that does not tell is no reason to know nothing."""
    found: dict[str, str] = {}
    for item in listed(answer, "sessions") if answer.status == 200 else ():
        kernel = item.get("kernel")
        if not isinstance(kernel, dict):
            raise nonsense("a session has no kernel")
        name = text(item, "name", NAME_CHARACTERS) or text(item, "path", 4096).rpartition("/")[2][:NAME_CHARACTERS]
        if name:
            found.setdefault(text(kernel, "id", ID_CHARACTERS), name)
    return found


def named(kernel: KernelLook, names: Mapping[str, str]) -> KernelLook:
    return KernelLook(kernel.id, names.get(kernel.id, kernel.name), kernel.busy, kernel.last_activity, kernel.connections)


def text(item: Mapping[str, Any], key: str, most: int) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise nonsense(f"{key} is no text")
    return "".join(letter for letter in value[:most] if letter.isprintable())


def moment(item: Mapping[str, Any]) -> float:
    value = item.get("last_activity")
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else refuse("")
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise nonsense("last_activity is no moment") from None


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
