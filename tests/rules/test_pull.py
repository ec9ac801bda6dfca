"""Whatever Podman prints becomes progress that never goes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.messages import Progress
from nbd.notebooks.image import Said, Stage, Step
from nbd.notebooks.pull import LONGEST, Fold, finished, fold

PULL = Step(Stage.PULL, "example.org/lab:1", ("podman", "pull"))
BUILD = Step(Stage.BUILD, "jupyter", ("podman", "build"), before=0.5, share=0.5)
TREE = Step(Stage.TREE, "debian", ("mmdebstrap",), before=0.0, share=0.5)


def told(step: Step, *lines: str) -> tuple[Fold, list[Progress]]:
    state, all_shown = Fold(), []
    for line in lines:
        state, shown = fold(state, Said(step, line))
        all_shown += [shown] if shown else []
    return state, all_shown


@pytest.mark.parametrize(
    ("lines", "fraction", "text"),
    [
        (["Trying to pull example.org/lab:1..."], 0.0, "Trying to pull example.org/lab:1..."),
        (["Copying blob sha256:0123456789ab [====>---] 12.0MiB / 24.0MiB"], 0.495, "0 of 1 layers"),
        (["Copying blob 0123456789ab [=>--] 512.0KiB / 1.0MiB | 3.2 MiB/s"], 0.495, "0 of 1 layers"),
        (["Copying blob 0123456789ab done  ", "Copying blob ba9876543210 skipped: already exists"], 0.99, "2 of 2 layers"),
        (["Copying blob 0123456789ab", "Copying blob ba9876543210", "Copying blob 0123456789ab done"], 0.495, "1 of 2 layers"),
    ],
    ids=["beginning", "a bar", "a bar with its speed", "there already", "no sizes at all"],
)
def test_command_line(lines: list[str], fraction: float, text: str) -> None:
    shown = told(PULL, *lines)[1][-1]
    assert shown.fraction == pytest.approx(fraction)
    assert shown.text == text


@pytest.mark.parametrize(
    ("event", "fraction"),
    [
        ({"stream": "Copying blob sha256:0123456789ab done"}, 0.99),
        ({"status": "Downloading", "id": "abc", "progressDetail": {"current": 1, "total": 4}}, 0.2475),
        ({"status": "Already exists", "id": "abc", "progressDetail": {}}, 0.99),
        ({"images": ["sha256:1"], "id": "sha256:1"}, 1.0),
    ],
)
def test_api(event: object, fraction: float) -> None:
    assert told(PULL, json.dumps(event))[1][-1].fraction == pytest.approx(fraction)


def test_an_error_of_the_far_end_is_kept() -> None:
    state, shown = told(PULL, '{"error": "manifest unknown"}')
    assert state.failure == "manifest unknown"
    assert shown[-1].text == "error: manifest unknown"


def test_a_layer_that_starts_again_does_not_take_progress_back() -> None:
    lines = [f"Copying blob 0123456789ab [=] {done}MiB / {total}MiB" for done, total in ((8, 10), (0, 10), (1, 20), (20, 20))]
    fractions = [shown.fraction for shown in told(PULL, *lines)[1]]
    assert fractions == pytest.approx([0.792, 0.792, 0.792, 0.99])


def test_build_steps_count_within_their_share() -> None:
    shown = told(BUILD, "STEP 1/4: FROM base", "--> abc", "STEP 3/4: RUN make", "Collecting numpy==2.0", "some noise")[1]
    assert [(now.fraction, now.text) for now in shown] == [
        (0.5, "jupyter: step 1 of 4: FROM base"),
        (0.75, "jupyter: step 3 of 4: RUN make"),
        (0.75, "Collecting numpy==2.0"),
    ]


def test_a_tree_goes_by_its_milestones() -> None:
    shown = told(TREE, "I: automatically chosen mode: root", "I: extracting archives...", "I: installing essential packages...")[1]
    assert [now.text for now in shown] == ["Debian tree: extracting archives", "Debian tree: installing essential packages"]
    assert finished(Fold(), TREE)[1].fraction == 0.5


def test_text_cannot_move_the_cursor() -> None:
    shown = told(BUILD, "STEP 1/1: RUN echo \x1b[2J\x07\u202e" + "x" * 500)[1][0]
    assert shown.text.isprintable()
    assert len(shown.text) == LONGEST


numbers = st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=5), st.booleans())
layers = st.sampled_from(["0123456789ab", "ba9876543210", "fedcba987654"])
units = st.sampled_from(["b", "kB", "KiB", "MB", "MiB", "GiB", "TB"])
bars = st.builds("Copying blob {} [==>-] {}{} / {}{}".format, layers, st.floats(0, 1e30), units, st.floats(0, 1e30), units)
events = st.dictionaries(
    st.sampled_from(["stream", "error", "id", "status", "images", "progressDetail", "other"]),
    st.one_of(numbers, st.sampled_from(["Downloading", "Already exists", "Retrying"]), st.fixed_dictionaries({"current": numbers, "total": numbers})),
).map(json.dumps)
steps = st.builds("STEP {}/{}: RUN x".format, st.integers(0, 10**6), st.integers(0, 10**6))
any_line = st.one_of(st.text(), bars, events, steps, layers.map("Copying blob {} done".format), st.text().map("{{{}".format))


@given(st.lists(any_line, max_size=30), st.sampled_from([PULL, BUILD, TREE]))
def test_it_never_goes_back_and_never_raises(lines: list[str], step: Step) -> None:
    fractions = [shown.fraction or 0.0 for shown in told(step, *lines)[1]]
    assert fractions == sorted(fractions)
    assert all(0.0 <= fraction <= 1.0 for fraction in fractions)
