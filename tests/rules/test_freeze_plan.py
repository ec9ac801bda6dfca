"""What can be frozen and what an image is worth, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.errors import Conflict, HostUnfit, Unreachable
from nbd.notebooks.rest.freeze_plan import (
    TRIES,
    Engine,
    Outcome,
    Traces,
    engine_obstacle,
    errors_in,
    gpu_obstacle,
    outcome,
    room_obstacle,
    seconds_for,
    thaw_failed,
    version,
    whole,
    why_not,
)
from nbd.notebooks.rest.ports import Image

GIB = 1 << 30
FIT = Engine("5.8.6", "crun", "crun version 1.28\n+SYSTEMD +SELINUX +CRIU +YAJL", "4.2.1", "6.18.5-amd64")


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        pytest.param(FIT, (), id="all is there"),
        pytest.param(replace(FIT, rootless=True), ("without root", "systemctl enable --now podman.socket"), id="rootless"),
        pytest.param(replace(FIT, podman="3.4.4"), ("Podman 3.4.4 is too old", "apt-get install podman"), id="an old Podman"),
        pytest.param(replace(FIT, podman=""), ("of unknown version",), id="a Podman that does not say"),
        pytest.param(replace(FIT, podman="4.3.1"), (), id="the oldest Podman that will do"),
        pytest.param(replace(FIT, runtime_says="crun version 1.8.1\n+SYSTEMD"), ("without CRIU", "apt-get install runc criu"), id="Debian 12's crun"),
        pytest.param(replace(FIT, runtime="runc", runtime_says="runc version 1.1.5"), (), id="runc has it always"),
        pytest.param(replace(FIT, criu=""), ("criu is not installed", "apt-get install criu"), id="no CRIU"),
        pytest.param(replace(FIT, criu="3.17.1"), ("CRIU 3.17.1 is too old for Linux 6.18.5-amd64", "4.2 is needed"), id="an old CRIU, a new kernel"),
        pytest.param(replace(FIT, criu="4.1"), ("4.2 is needed",), id="just too old"),
        pytest.param(replace(FIT, criu="3.17.1", kernel="6.1.0-28-amd64"), (), id="an old CRIU, an old kernel"),
        pytest.param(replace(FIT, criu="3.10", kernel="6.1.0-28-amd64"), ("3.11 is needed",), id="a CRIU that is too old for Podman"),
        pytest.param(replace(FIT, transient=True), ("transient_store",), id="containers in memory only"),
    ],
)
def test_what_stands_in_the_way_is_said_with_what_mends_it(engine: Engine, words: tuple[str, ...]) -> None:
    said = engine_obstacle(engine)
    assert bool(said) == bool(words)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(("text", "expected"), [("4.2.1", (4, 2)), ("v5.8-dev", (5, 8)), ("6.18.5", (6, 18)), ("", None), ("unknown", None)])
def test_versions(text: str, expected: tuple[int, int] | None) -> None:
    assert version(text) == expected


@pytest.mark.parametrize(
    ("cards", "parked", "plugin", "can"),
    [((), False, False, True), (("GPU-a",), False, False, False), (("GPU-a",), True, False, True), (("GPU-a",), False, True, True)],
)
def test_a_card_is_parked_first_or_saved_by_the_plugin(cards: tuple[str, ...], parked: bool, plugin: bool, can: bool) -> None:  # noqa: FBT001
    said = gpu_obstacle(cards, parked=parked, plugin=plugin)
    assert (said == "") is can
    assert can or "park it first" in said


@pytest.mark.parametrize(
    ("needed", "free", "can"),
    [(0, GIB, True), (GIB, GIB, False), (GIB, GIB + (256 << 20), True), (100 * GIB, 104 * GIB, False), (100 * GIB, 106 * GIB, True)],
)
def test_room_has_a_margin(needed: int, free: int, can: bool) -> None:  # noqa: FBT001
    assert (room_obstacle(needed, free) == "") is can


def test_who_has_no_room_is_told_how_much() -> None:
    assert room_obstacle(4 * GIB, GIB) == "it needs 4.2 GiB on the disk for images, and 1.0 GiB are free"


@given(st.integers(0, 1 << 40))
def test_a_larger_image_has_more_time(count: int) -> None:
    assert 60 <= seconds_for(count) <= seconds_for(2 * count)


@pytest.mark.parametrize(
    ("traces", "expected"),
    [
        pytest.param(Traces(mark=True, inventory=True, same_boot=True, living=False), True, id="marked"),
        pytest.param(Traces(mark=True, inventory=True, same_boot=False, living=False), True, id="marked, and the box was started again"),
        pytest.param(Traces(mark=False, inventory=True, same_boot=True, living=False), True, id="all written, and nbd was killed before its mark"),
        pytest.param(Traces(mark=False, inventory=True, same_boot=True, living=True), False, id="not over: its processes live"),
        pytest.param(Traces(mark=False, inventory=True, same_boot=False, living=False), False, id="the box went down before it was on the disk"),
        pytest.param(Traces(mark=False, inventory=False, same_boot=True, living=False), False, id="CRIU was killed"),
    ],
)
def test_an_image_is_whole_when_all_of_it_is_there(traces: Traces, expected: bool) -> None:  # noqa: FBT001
    assert whole(traces) is expected


@pytest.mark.parametrize(
    ("image", "living", "expected"),
    [
        (None, True, Outcome.NOTHING),
        (None, False, Outcome.NOTHING),
        (Image("/x", 1, whole=True), True, Outcome.RUNNING),
        (Image("/x", 1, whole=False), True, Outcome.RUNNING),
        (Image("/x", 1, whole=True), False, Outcome.FROZEN),
        (Image("/x", 1, whole=False), False, Outcome.LOST),
    ],
)
def test_what_is_left(image: Image | None, living: bool, expected: Outcome) -> None:  # noqa: FBT001
    assert outcome(image, living=living) is expected


REFUSED = HostUnfit("Podman refused: `/usr/bin/crun checkpoint` failed: exit status 1", code="podman_refused")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("(00.021) Error (criu/sk-unix.c:874): sk unix: External socket is used. Consider using --ext-unix-sk option.", "connected"),
        ("(00.2) Error (criu/sk-unix.c:351): unix: Unix socket 4686962 not found", "connected"),
        ("(00.1) Error (criu/image.c:550): Unable to write: No space left on device", "disk_full"),
        ("(00.1) Error (criu/files-ext.c:94): Can't dump file 33 of that type [20666] (chr 195:255 /dev/nvidiactl)", "gpu_in_use"),
        ("(00.1) Error (criu/files-reg.c:1010): Can't dump ghost file /tmp/x of 20971520 size, increase limit", "ghost_file"),
        ("(00.1) Error (criu/files-reg.c:1178): Can't create link remap for /home/ada/x. Use link-remap option.", "link_remap"),
        ("(00.1) Error (criu/files-ext.c:94): Can't dump file 9 of that type [600] (unknown /anon_inode:[io_uring])", "unsupported"),
        ("(00.1) Error (criu/files-ext.c:94): Can't dump file 7 of that type [20666] (chr 10:200 /dev/net/tun)", "unsupported"),
        ("(00.1) Error (compel/src/lib/infect.c:400): Unable to connect a transport socket", "criu_refused"),
    ],
)
def test_a_log_becomes_a_sentence(line: str, code: str) -> None:
    log = f"(00.000) Version: 4.2.1\n(00.001) Warn  (criu/kerndat.c:1): something\n{line}\n(00.9) Error (criu/cr-dump.c:2103): Dumping FAILED.\n"
    error = why_not("frozen", REFUSED, log)
    assert error.code == code
    assert error.message.startswith("it cannot be frozen: ")
    assert error.hint
    assert isinstance(error, Conflict) == error.retryable == (code == "connected")


def test_without_a_log_the_engine_is_quoted() -> None:
    error = why_not("thawed", Unreachable("Podman cannot be reached", hint="start it"), "")
    assert (error.message, error.hint, error.retryable) == ("it cannot be thawed: Podman cannot be reached", "start it", True)


def test_the_last_error_is_the_first() -> None:
    assert errors_in("x Error (a): one\nWarn: no\ny Error (b): two\n") == ("two", "one")


def test_after_three_tries_it_is_said_what_to_do() -> None:
    error = HostUnfit("it cannot be thawed: CRIU: no", hint="look")
    assert [thaw_failed(error, tries, "main").hint for tries in range(1, TRIES)] == ["look"] * (TRIES - 1)
    said = thaw_failed(error, TRIES, "main").hint
    assert all(word in said for word in ("look; ", "its image stays", "nbctl thaw main", "nbctl stop main"))
