"""What a home takes: sums that agree with each other, by folder, rule and culprit; and commands that are right for any name."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.homes.sizes import culprits
from nbd.homes.sizes.usage import MOST_FOLDERS, Counting, Here, Sized, Usage, Visit
from nbd.host.ignores import IgnoreRules

MIB = 1 << 20
NAMES = [b"a", b".cache", b"c", b"__pycache__", b"core", b"checkpoints"]
Tree = dict[bytes, Here]


def counted(tree: Tree, text: str = "") -> Usage:
    rules = IgnoreRules(text)
    counting, todo = Counting(lambda path, folder: rules.rule(path, folder=folder)), [Visit()]
    while todo:
        visit = todo.pop()
        todo += counting.feed([(visit, tree.get(visit.path, Here()))])
    return counting.usage(whole=True)


def test_what_is_left_out_is_told_by_place_and_by_rule() -> None:
    usage = counted(
        {
            b"": Here([Sized(b"paper", 3), Sized(b"a.tmp", 5)], [b".cache", b"work"]),
            b".cache": Here([Sized(b"x", 7)], [b"huggingface", b"pip"]),
            b".cache/huggingface": Here([], [b"hub"]),
            b".cache/huggingface/hub": Here([Sized(b"model", 1000)]),
            b".cache/pip": Here([Sized(b"wheel", 100)]),
            b"work": Here([Sized(b"x.py", 2)], [b"__pycache__", b".cache"]),
            b"work/__pycache__": Here([Sized(b"x.pyc", 11)]),
            b"work/.cache": Here([Sized(b"kept", 13)]),
        },
        "*.tmp\n",
    )
    assert (usage.bytes, usage.files, usage.excluded_bytes, usage.excluded_files) == (1141, 8, 1123, 5)
    assert [(one.path, one.rule, one.bytes) for one in usage.places] == [
        (b".cache/huggingface", "/.cache/", 1000), (b".cache/pip", "/.cache/", 100), (b"work/__pycache__", "__pycache__/", 11),
        (b".cache", "/.cache/", 7), (b"", "*.tmp", 5),
    ]  # fmt: skip
    assert [(one.rule, one.bytes, one.files) for one in usage.rules] == [("/.cache/", 1107, 3), ("__pycache__/", 11, 1), ("*.tmp", 5, 1)]
    assert [(one.path, one.bytes, one.excluded) for one in usage.folders][:3] == [
        (b".cache", 1107, 1107), (b".cache/huggingface", 1000, 1000), (b".cache/huggingface/hub", 1000, 1000),
    ]  # fmt: skip


def test_a_file_with_several_names_counts_once() -> None:
    usage = counted({b"": Here([Sized(b"a", 10, linked=5), Sized(b"b", 10, linked=5)], [b"d"]), b"d": Here([Sized(b"c", 10, linked=5)])})
    assert (usage.bytes, usage.files) == (10, 1)


def test_what_cannot_be_seen_is_said() -> None:
    usage = counted({b"": Here([], [b"theirs"]), b"theirs": Here(seen=False)})
    assert usage.unseen == 1


def test_a_home_of_many_folders_stays_small() -> None:
    names = [b"%d" % number for number in range(MOST_FOLDERS + 1000)]
    usage = counted({b"": Here([], names)} | {name: Here([Sized(b"f", 1)]) for name in names})
    assert usage.bytes == len(names)


@given(st.dictionaries(st.lists(st.sampled_from(NAMES), max_size=6).map(tuple), st.integers(0, 9 * MIB)))
def test_the_sums_agree(sizes: dict[tuple[bytes, ...], int]) -> None:
    """A file `f` in each of these folders: the parts are never more than the whole, and rules and places say the same."""
    tree: dict[bytes, tuple[list[Sized], set[bytes]]] = {}
    for path, size in sizes.items():
        tree.setdefault(b"/".join(path), ([], set()))[0].append(Sized(b"f", size))
        for depth, name in enumerate(path):
            tree.setdefault(b"/".join(path[:depth]), ([], set()))[1].add(name)
    usage = counted({path: Here(files, sorted(folders)) for path, (files, folders) in tree.items()})
    assert usage.bytes == sum(sizes.values())
    assert usage.files == len(sizes)
    left_out = sum(size for path, size in sizes.items() if path[:1] == (b".cache",) or b"__pycache__" in path)
    assert usage.excluded_bytes == left_out
    assert sum(one.bytes for one in usage.rules) == left_out
    paths = [one.path for one in usage.folders]
    assert all(path.rpartition(b"/")[0] in {b"", *paths[:number]} for number, path in enumerate(paths)), "each is after the one it is in"
    assert all(one.excluded <= one.bytes <= usage.bytes for one in usage.folders)
    assert sum(one.bytes for one in usage.culprits) <= usage.bytes


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b".cache/huggingface", "hugging_face"), (b".cache/pip", "pip"), (b".cache/anything", "cache"), (b".cache", ""), (b"work/.cache/x", ""),
        (b".local/share/Trash", "trash"), (b"data/.Trash-1000", "trash"), (b"miniconda3/pkgs", "conda"), (b"work/pkgs", ""),
        (b"a/b/.ipynb_checkpoints", "autosaves"), (b"restored-2026-11-20-140500", "restored"), (b"restored", ""),
        (b"runs/checkpoint-500", "checkpoint"), (b"runs/checkpoints", "checkpoints"), (b"a\n/ckpt", "checkpoints"), (b"checkpointing", ""),
    ],
)  # fmt: skip
def test_culprits_by_their_folder(path: bytes, kind: str) -> None:
    assert culprits.of_folder(path) == kind


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        (b"core", MIB, "core"), (b"core.4711", 99 * MIB, "core"), (b"core", 10, ""), (b"core.py", MIB, ""),
        (b"last.ckpt", 99 * MIB, "weights"), (b"last.ckpt", MIB, ""),
    ],
)  # fmt: skip
def test_culprits_by_their_file(name: bytes, size: int, kind: str) -> None:
    assert culprits.of_file(name, size) == kind


def test_what_is_in_a_culprit_is_that_culprits() -> None:
    usage = counted(
        {
            b"": Here([Sized(b"core.1", 3 * MIB)], [b"runs", b"a", b"b"]),
            b"runs": Here([], [b"checkpoints"]),
            b"runs/checkpoints": Here([Sized(b"core", 9 * MIB)], [b"checkpoint-1"]),
            b"runs/checkpoints/checkpoint-1": Here([Sized(b"w", 80 * MIB)]),
            b"a": Here([], [b".ipynb_checkpoints"]),
            b"b": Here([], [b".ipynb_checkpoints"]),
            b"a/.ipynb_checkpoints": Here([Sized(b"x", MIB)]),
            b"b/.ipynb_checkpoints": Here([Sized(b"x", MIB)]),
        }
    )
    assert [(one.kind, one.place, one.bytes) for one in usage.culprits] == [
        ("checkpoints", b"runs/checkpoints", 89 * MIB), ("core", b"core.1", 3 * MIB), ("autosaves", b"", 2 * MIB),
    ]  # fmt: skip


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_a_quoted_name_is_that_name_to_a_shell(name: bytes) -> None:
    said = culprits.quoted(b"/h/" + name)
    assert said.isprintable()
    assert subprocess.run(["bash", "-c", f"printf %s {said}"], capture_output=True, check=True, timeout=10).stdout == b"/h/" + name


def test_each_command_frees_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """The commands that only need a shell, run on a home with a hostile name."""
    home = tmp_path / "ho me'; x"
    places = {"trash": ".local/share/Trash", "cache": ".cache/x y", "autosaves": "w/.ipynb_checkpoints", "checkpoint": "$(id)/checkpoint-1"}
    for kind, place in places.items():
        inside, beside = home / place / "big", home / "paper"
        inside.parent.mkdir(parents=True)
        inside.write_text("x")
        beside.write_text("x")
        subprocess.run(["bash", "-c", culprits.command(kind, str(home), place.encode())], check=True, timeout=10)
        assert not inside.exists()
        assert beside.exists()


def test_the_table_of_culprits_is_whole() -> None:
    for name, kind in culprits.KINDS.items():
        assert bool(kind.folder) != bool(kind.file), name
        said = culprits.command(name, "/home/ada", b"x")
        assert "{" not in re.sub(r"\{\}", "", said), name
        assert shlex.split(said), name
