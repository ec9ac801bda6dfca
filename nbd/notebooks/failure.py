"""Why a notebook is not there: from what was seen of its end to one sentence and the next step. Pure.

The codes are part of the API; docs/failures.md lists them and a test keeps the two alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MESSAGES, NbdError
from .model import Failure

NOT_FOUND_EXIT = 127
"""What a shell, and Podman, make of a command that is not there."""
NOT_FOUND_LOG = re.compile(r"failed to exec pid1: No such file|\[FATAL tini .* failed: No such file")
"""What the container's first process says of it: catatonit, or tini, whichever Podman was built with."""
KILLED = 128 + 9

CODES: dict[str, str] = {
    "image_missing": "The profile's image is not on this box.",
    "pull_failed": "The profile's image could not be fetched.",
    "no_capacity": "No card that fits is free.",
    "editor_missing": "The image has no such editor.",
    "editor_exited": "The editor ended before, or while, it was used.",
    "out_of_memory": "The notebook needed more memory than its profile gives.",
    "never_answered": "The editor's process ran, and its socket never answered.",
    "home_unfit": "The home directory is missing or is not the person's.",
    "home_not_back": "The home is empty or half on this box, and what its snapshots have could not be brought here.",
    "data_away": "A bucket that should be attached could not be reached.",
    "data_unfit": "A bucket that should be attached denies access, is not there, is too large, or cannot be a folder.",
    "home_over_quota": "The home takes more than its quota allows.",
    "interrupted": "The container was gone when nbd looked: a reboot, or removed by hand.",
    "crash_loop": "The editor ended wrongly again and again.",
    "disk_full": "No space was left on this box.",
    "cdi_missing": "The CDI specification does not name the card.",
    "cdi_stale": "The CDI specification was made for another driver.",
    "unreachable": "Podman did not answer.",
    "deadline": "Podman did not answer in time.",
    "host_unfit": "The box lacks something that the notebook needs.",
    "internal": "A defect in nbd; the journal has the details.",
}


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended, as far as anybody can know."""

    code: int | None
    """None when its end was not witnessed (conmon had died)."""
    oom: bool = False
    """The kernel ended a process of the container for want of memory: the editor, when that was killed; else a kernel, some time before."""
    log: Sequence[str] = ()
    """The last lines, oldest first."""
    was_ready: bool = True

    @property
    def wrong(self) -> bool:
        """False for an editor that was shut down from inside on purpose: JupyterLab's "Shut Down" exits 0."""
        return self.code != 0 or not self.was_ready


def of_exit(end: Exit, *, editor: str, image: str, memory_text: str) -> Failure:
    """The one sentence for an editor that ended."""
    log = tuple(end.log)
    if end.oom and end.code in (KILLED, None):
        hint = "use less at a time, or a profile with more memory: nbctl profile ls"
        return Failure("out_of_memory", f"it needed more than its {memory_text} of memory and was ended", hint, log)
    if not end.was_ready and (end.code == NOT_FOUND_EXIT or any(NOT_FOUND_LOG.search(line) for line in log)):
        return Failure("editor_missing", f"the image {image} has no {editor}", f"check it: nbctl image check {image}", log)
    when = "" if end.was_ready else " before it was ready"
    if end.code == KILLED and not end.was_ready:
        hint = "is there a profile with more memory? nbctl profile ls"
        return Failure("editor_exited", f"the editor was killed{when}, probably for want of memory ({memory_text})", hint, log)
    how = "for an unknown reason" if end.code is None else "because something killed it" if end.code == KILLED else f"with exit code {end.code}"
    return Failure("editor_exited", f"the editor ended{when} {how}", "", log)


def of_silence(seconds: float, log: Sequence[str]) -> Failure:
    message = f"the editor runs but did not answer within {seconds:g} s"
    return Failure("never_answered", message, "is the home on a slow disk, or full? nbctl home usage", tuple(log))


def of_error(error: NbdError, log: Sequence[str] = ()) -> Failure:
    """A refusal or failure on the way to the editor. Codes that no person has met before become `host_unfit`."""
    return Failure(error.code if error.code in CODES else "host_unfit", error.message, error.hint, tuple(log))


def of_defect(error: Exception) -> Failure:
    message = f"nbd met an unexpected error ({type(error).__name__})"
    return Failure("internal", message, f"please report it with {MESSAGES}", ())


PERSONS_FAULT = frozenset({"editor_missing", "editor_exited", "out_of_memory", "never_answered", "crash_loop", "home_over_quota"})
"""These end in FAILED; the rest is nbd's or the box's fault and ends in ERROR. A lack of capacity is neither: STOPPED."""
