"""Lines of a pull or a build -> progress a person can follow.

The lines are untidy: Podman's API sends JSON of several shapes, its command line draws bars or prints a layer once, layers appear late,
restart after a retry or are there already, totals change. Two promises, each a property test: the fraction never goes back, and no line
whatever raises. What is not understood is passed over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..messages import Progress
from .image import Said, Stage, Step

Layer = tuple[float, float]
"""Bytes done and bytes in all; (0, 0) when nothing is known, (1, 1) when it is there and its size was never told."""

LONGEST = 120
ALMOST = 0.99
"""Layers are not all of a pull: the manifest is written last."""

STEP = re.compile(r"STEP (\d{1,4})(?:/(\d{1,4}))?: (.+)")
BLOB = re.compile(r"Copying (?:blob|config) (?:sha256:)?([0-9a-f]{6,64})(.*)")
AMOUNTS = re.compile(r"([\d.]+) ?([KMGT]?i?B|b) ?/ ?([\d.]+) ?([KMGT]?i?B|b)")
UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}
TELLING = re.compile(
    r"(?:Collecting|Downloading|Installing collected|Successfully installed|Unpacking|Setting up|Trying to pull|Getting image|Writing manifest).*"
)
TREE_STEPS = ("apt-get update", "downloading packages", "extracting archives", "installing essential", "installing remaining", "creating tarball")


@dataclass(frozen=True, slots=True)
class Fold:
    """What is known so far. `failure` is what the far end said went wrong."""

    fraction: float = 0.0
    layers: Mapping[str, Layer] = field(default_factory=dict)
    failure: str = ""


def fold(state: Fold, said: Said) -> tuple[Fold, Progress | None]:
    """The new state, and what to show; None when the line told nothing new."""
    line = said.line.strip()
    if line.startswith("{"):
        return of_json(state, said.step, line)
    if said.step.stage is Stage.PULL:
        return of_pull(state, said.step, line)
    if said.step.stage is Stage.TREE:
        return of_tree(state, said.step, line)
    return of_build(state, said.step, line)


def finished(state: Fold, step: Step) -> tuple[Fold, Progress]:
    return shown(state, step, 1.0, f"{step.image}: {DONE[step.stage]}")


DONE = {Stage.TREE: "Debian tree made", Stage.IMPORT: "imported", Stage.BUILD: "built", Stage.PULL: "fetched"}


def of_json(state: Fold, step: Step, line: str) -> tuple[Fold, Progress | None]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return state, None
    if not isinstance(event, dict):
        return state, None
    if error := event.get("error"):
        return shown(replace(state, failure=clean(str(error))), step, None, f"error: {error}")
    if isinstance(event.get("stream"), str):
        return of_pull(state, step, event["stream"].strip())
    if isinstance(event.get("progressDetail"), dict) and event.get("id"):
        return with_layer(state, step, str(event["id"]), amounts_of(event["progressDetail"]), str(event.get("status", "")))
    if event.get("images") or event.get("id"):
        return finished(state, step)
    return state, None


def amounts_of(detail: Mapping[str, Any]) -> Layer:
    try:
        current, total = float(detail["current"]), float(detail["total"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return (0.0, 0.0)
    return (current, total) if math.isfinite(current) and math.isfinite(total) else (0.0, 0.0)


def of_pull(state: Fold, step: Step, line: str) -> tuple[Fold, Progress | None]:
    if match := BLOB.match(line):
        return with_layer(state, step, match[1], amounts_in(match[2]), "copying")
    return telling(state, step, line)


def amounts_in(text: str) -> Layer:
    if "done" in text or "skipped" in text or "already exists" in text:
        return (1.0, 1.0)
    if match := AMOUNTS.search(text):
        return (size(match[1], match[2]), size(match[3], match[4]))
    return (0.0, 0.0)


def size(number: str, unit: str) -> float:
    """Bytes; 0 where it is no number."""
    try:
        value = float(number) * (1024.0 if "i" in unit else 1000.0) ** UNITS.get(unit[0], 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def with_layer(state: Fold, step: Step, name: str, now: Layer, word: str) -> tuple[Fold, Progress]:
    before = state.layers.get(name, (0.0, 0.0))
    done = now == (1.0, 1.0) or word in ("Already exists", "Pull complete", "Download complete")
    layer = (max(before[1], 1.0),) * 2 if done else (now if now[1] > 0 else before)
    layers = {**state.layers, name: layer}
    complete = sum(1 for current, total in layers.values() if 0 < total <= current)
    return shown(replace(state, layers=layers), step, ALMOST * share_done(layers), f"{complete} of {len(layers)} layers")


def share_done(layers: Mapping[str, Layer]) -> float:
    """Each layer counts as much as the next one: their sizes are told late or never."""
    return sum(min(current / total, 1.0) if total > 0 else 0.0 for current, total in layers.values()) / len(layers)


def of_tree(state: Fold, step: Step, line: str) -> tuple[Fold, Progress | None]:
    for number, words in enumerate(TREE_STEPS):
        if words in line:
            return shown(state, step, number / len(TREE_STEPS), f"Debian tree: {line.removeprefix('I:').strip(' .')}")
    return telling(state, step, line.removeprefix("I:").strip())


def of_build(state: Fold, step: Step, line: str) -> tuple[Fold, Progress | None]:
    match = STEP.match(line)
    if not match:
        return telling(state, step, line)
    number, total = int(match[1]), int(match[2] or 0)
    within = (number - 1) / total if 0 < number <= total else None
    return shown(state, step, within, f"{step.image}: step {number}{f' of {total}' if total else ''}: {match[3]}")


def telling(state: Fold, step: Step, line: str) -> tuple[Fold, Progress | None]:
    return shown(state, step, None, line) if TELLING.fullmatch(line) else (state, None)


def shown(state: Fold, step: Step, within: float | None, text: str) -> tuple[Fold, Progress]:
    """`within`: how far this step is, 0 to 1; None where the line does not say."""
    now = step.before + step.share * within if within is not None else 0.0
    state = replace(state, fraction=min(max(state.fraction, now), 1.0))
    return state, Progress(step.stage, clean(text), state.fraction)


def clean(text: str) -> str:
    """On one line, for a terminal: what a registry or a package printed must not move the cursor."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
