"""What went wrong with an image, as a person reads it. Pure: a step's last lines, or a trial's facts, in; an error or sentences out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ..errors import Deadline, HostUnfit, InvalidInput, NbdError, NotFound, Unreachable
from .image import Stage, StepFailed
from .pull import clean

DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
UNKNOWN = re.compile(r"manifest unknown|name unknown|not found: manifest|repository .* not found|image not known|does not exist", re.IGNORECASE)
REFUSED = re.compile(r"unauthorized|authentication required|access to the requested resource|denied: ", re.IGNORECASE)
SHORT = re.compile(r"short-name|invalid reference format|unqualified-search", re.IGNORECASE)
NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|network is unreachable|tls handshake|certificate|could not resolve|temporary failure",
    re.IGNORECASE,
)


def explain(failure: StepFailed) -> NbdError:
    """The error to raise for a step that ended wrongly."""
    step, text = failure.step, "\n".join(failure.tail)
    doing = {Stage.TREE: "making the Debian tree", Stage.IMPORT: "importing", Stage.BUILD: "building", Stage.PULL: "fetching"}[step.stage]
    if failure.exit_code is None:
        return Deadline(f"{doing} {step.image} took too long and was ended", hint=f"last line: {last(failure.tail)}")
    if DISK_FULL.search(text):
        return HostUnfit(f"the disk is full: {doing} {step.image}", hint="podman system df; podman image prune", code="disk_full")
    if step.stage is Stage.PULL:
        return pull_trouble(step.image, text, failure)
    if NETWORK.search(text):
        hint = "nbctl image build --base debootstrap asks no registry" if step.stage is Stage.BUILD else "see: apt-get update"
        return Unreachable(f"{doing} {step.image}: {last(failure.tail)}", hint=hint, code="no_base")
    return HostUnfit(f"{doing} {step.image} failed: {last(failure.tail)}", hint=f"by hand: {' '.join(step.argv[:2])} …", code="build_failed")


def pull_trouble(reference: str, text: str, failure: StepFailed) -> NbdError:
    if SHORT.search(text):
        hint = "write the full reference: host/folder/name:tag"
        return InvalidInput(f"{clean(reference)} names no registry that is known here", hint=hint, code="bad_reference")
    if REFUSED.search(text):
        return HostUnfit(f"the registry does not let this box have {reference}", hint=f"podman login {reference.split('/')[0]}", code="pull_refused")
    if NETWORK.search(text):
        hint = "nbctl image build works without any registry"
        return Unreachable(f"the registry of {reference} cannot be reached: {last(failure.tail)}", hint=hint)
    if UNKNOWN.search(text):
        return NotFound(f"its registry has no image {reference}", hint="check name and tag", code="image_missing")
    return HostUnfit(f"{reference} could not be fetched: {last(failure.tail)}", hint=f"by hand: podman pull {reference}", code="pull_failed")


def absent(reference: str, prefix: str, recipes: Collection[str]) -> str:
    """The next step for who meets an image that is not on this box and is not fetched by itself. `prefix` stands before those that nbd builds."""
    name = reference.removeprefix(prefix).removesuffix(":latest")
    if f"{prefix}{name}:latest" == reference and name in recipes:
        return f"an admin can make it: nbctl image build {name}"
    if reference.startswith((prefix, "localhost/")):
        return f"nbd cannot make {reference}: an admin builds it with Podman under this name, or names another image in the profile's file"
    return f"an admin can fetch it: podman pull {reference}"


def last(tail: Sequence[str]) -> str:
    """The line that says most: the last one that names an error, else the last."""
    lines = [clean(line) for line in tail if line.strip()]
    telling = [line for line in lines if re.search(r"error|^E:", line, re.IGNORECASE)]
    return (telling or lines or ["it said nothing"])[-1]


def end_of_trial(reference: str, editor: str, exit_code: int, log: Sequence[str]) -> str:
    """The sentence for an image whose container ended before its editor answered."""
    if exit_code in (126, 127):
        return f"{reference} has no {editor}: the container could not run it"
    if exit_code == 125:
        return f"Podman could not start {reference}: {last(log)}"
    return f"the editor of {reference} ended at once with exit code {exit_code}: {last(log)}"


def tool_problems(tools: Mapping[str, str]) -> list[str]:
    return [f"{name} is missing" for name, said in tools.items() if not said]


def version_problems(stated: Mapping[str, str], real: Mapping[str, str]) -> list[str]:
    """A label may be shorter than the truth: "3.11" is right for 3.11.2."""
    problems = []
    for name, label in sorted(stated.items()):
        found = real.get(name, "")
        if not found:
            problems.append(f"a label says {name} {label}, and there is none")
        elif not f"{found}.".startswith(f"{label}."):
            problems.append(f"a label says {name} {label}, and it is {found}")
    return problems
