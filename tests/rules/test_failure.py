"""One sentence and one next step for each way a notebook can end."""

from __future__ import annotations

import pytest

from nbd.errors import HostUnfit, NoCapacity, StartFailed, Unreachable
from nbd.notebooks.failure import CODES, PERSONS_FAULT, Exit, of_defect, of_error, of_exit, of_silence
from nbd.notebooks.model import Failure


def exit_of(code: int | None, *, oom: bool = False, ready: bool = True) -> Failure:
    return of_exit(Exit(code, oom, ["last words"], ready), editor="jupyterlab", image="jupyter", memory_text="4 GiB")


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (exit_of(1), "editor_exited", "with exit code 1"),
        (exit_of(1, ready=False), "editor_exited", "before it was ready"),
        (exit_of(137), "editor_exited", "something killed it"),
        (exit_of(137, ready=False), "editor_exited", "was killed before it was ready, probably for want of memory (4 GiB)"),
        (exit_of(None), "editor_exited", "for an unknown reason"),
        (exit_of(137, oom=True), "out_of_memory", "more than its 4 GiB of memory"),
        (exit_of(1, oom=True), "editor_exited", "with exit code 1"),
        (exit_of(127, ready=False), "editor_missing", "the image jupyter has no jupyterlab"),
        (exit_of(127), "editor_exited", "with exit code 127"),
        (of_silence(90, ["x"]), "never_answered", "within 90 s"),
        (of_error(StartFailed("gone", code="image_missing", hint="build it")), "image_missing", "gone"),
        (of_error(NoCapacity("2 of 4 cards fit")), "no_capacity", "2 of 4"),
        (of_error(HostUnfit("odd", code="podman_refused")), "host_unfit", "odd"),
        (of_error(Unreachable("silent")), "unreachable", "silent"),
        (of_defect(ValueError("x")), "internal", "ValueError"),
    ],
)
def test_each_end_has_its_word(failure: Failure, code: str, words: str) -> None:
    assert failure.code == code
    assert failure.code in CODES
    assert words in failure.message
    assert failure.message[-1] != "."


def test_an_editor_shut_down_from_inside_did_nothing_wrong() -> None:
    assert not Exit(0).wrong
    assert Exit(0, was_ready=False).wrong
    assert Exit(1).wrong
    assert Exit(None).wrong
    assert not Exit(0, oom=True).wrong, "a kernel had needed too much, some time before"


def test_what_is_a_persons_fault_has_a_code() -> None:
    assert set(CODES) >= PERSONS_FAULT


def test_what_the_containers_first_process_says_of_a_missing_editor() -> None:
    said = ("ERROR (catatonit:2): failed to exec pid1: No such file or directory",)
    assert of_exit(Exit(1, log=said, was_ready=False), editor="e", image="i", memory_text="m").code == "editor_missing"
    assert of_exit(Exit(1, log=said), editor="e", image="i", memory_text="m").code == "editor_exited"
