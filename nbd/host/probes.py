"""A profile's own word on whether a notebook works: a program of its image, which prints {"active": true, "text": "step 4711 of 9000"}.

Anything else it does is unknown: ends with an error, prints something else, takes too long, is not there.
"""

from __future__ import annotations

import json

from ..errors import Deadline, NbdError, Unreachable
from ..idle.model import ProbeLook
from .execs import PodmanExecs, Said

SECONDS = 10.0
MOST_BYTES = 4 << 10
TEXT_CHARACTERS, SHOWN_CHARACTERS = 200, 120
HINT = "run it as the notebook would: podman exec CONTAINER "


class PodmanProbes:
    def __init__(self, execs: PodmanExecs, seconds: float = SECONDS) -> None:
        self._execs = execs
        self._seconds = seconds

    async def ask(self, container: str, script: str) -> ProbeLook:
        try:
            said = await self._execs.run(container, (script,), self._seconds, MOST_BYTES)
        except Deadline:
            raise Deadline(f"the probe {script} did not end within {self._seconds:g} s", hint=HINT + script) from None
        except NbdError as error:
            raise Unreachable(f"the probe {script} could not be run: {error.message}", hint=error.hint or HINT + script, code=error.code) from None
        return understood(said, script)


def understood(said: Said, script: str) -> ProbeLook:
    """Raises Unreachable for all that is no answer."""
    if said.code != 0:
        complaint = shown(said.err) or shown(said.out)
        raise failed(f"the probe {script} ended with exit code {said.code}{': ' + complaint if complaint else ''}", script)
    try:
        answer = json.loads(said.out)
    except (ValueError, RecursionError):
        raise failed(f"the probe {script} did not print JSON but {shown(said.out)!r}", script) from None
    if not isinstance(answer, dict) or type(answer.get("active")) is not bool or not isinstance(answer.get("text", ""), str):
        raise failed(f'the probe {script} did not print {{"active": true or false, "text": "…"}} but {shown(said.out)!r}', script)
    return ProbeLook(answer["active"], printable(answer.get("text", ""))[:TEXT_CHARACTERS])


def failed(message: str, script: str) -> Unreachable:
    return Unreachable(message, hint=HINT + script, code="probe_failed")


def shown(output: bytes) -> str:
    """The first of what it said, on one line."""
    return printable(output[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace"))[:SHOWN_CHARACTERS].strip()


def printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
