"""What a two-way sync decides: each case of its table, names that do not fit, holes where data should be; and that no plan loses anything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbd.homes.attached.model import Action, Do, Here, Known, Plan, Remote, Rules, There
from nbd.homes.attached.names import Named, copy_of, is_copy, sorted_out, unfit
from nbd.homes.attached.plan import plan
from nbd.homes.model import Kind, Seen

BOTH_WAYS, MIRROR = Rules(writable=True), Rules(writable=False)
OTHERS = {f"other{number}": "same" for number in range(40)}
"""So that one deletion is not all there is."""


def seen(path: str, version: str, ino: int = 0) -> Seen:
    """`version` stands for content and times alike."""
    return Seen(path.rpartition("/")[2].encode(), Kind.FILE, 0o644, 1, 1, len(version), hash(version) & 0xFFFF, hash(version) & 0xFFFF, ino, 1)


def known(path: str, version: str, key: str = "") -> Known:
    file = seen(path, version)
    return Known(path, key or path, version, file.size, file.mtime, file.ctime, file.ino, version)


def remote(version: str) -> Remote:
    return Remote(len(version), version, 0)


def planned(was: str | None, here: str | None, there: str | None, rules: Rules) -> Plan:
    """For one name, beside others that are the same everywhere."""

    def with_others(version: str | None) -> dict[str, str]:
        return {**OTHERS, **({"name": version} if version else {})}

    was_known = {path: known(path, version) for path, version in with_others(was).items()}
    files = {path: seen(path, version) for path, version in with_others(here).items()}
    return plan(was_known, Here(files), There({path: remote(version) for path, version in with_others(there).items()}), rules)


CASES: Mapping[tuple[str | None, str | None, str | None], tuple[Do | None, Do | None]] = {
    # (known, here, there): (read-write, read-only)
    (None, None, None): (None, None),
    (None, None, "b"): (Do.DOWNLOAD, Do.DOWNLOAD),
    (None, "b", None): (Do.UPLOAD, Do.DELETE_HERE),
    (None, "b", "c"): (Do.MEET, Do.DOWNLOAD),
    (None, "b", "b"): (Do.MEET, Do.DOWNLOAD),
    ("a", "a", "a"): (None, None),
    ("a", "a", "b"): (Do.DOWNLOAD, Do.DOWNLOAD),
    ("a", "a", None): (Do.DELETE_HERE, Do.DELETE_HERE),
    ("a", "b", "a"): (Do.UPLOAD, Do.DOWNLOAD),
    ("a", "b", "c"): (Do.MEET, Do.DOWNLOAD),
    ("a", "b", None): (Do.UPLOAD, Do.DELETE_HERE),
    ("a", None, "a"): (Do.DELETE_THERE, Do.DOWNLOAD),
    ("a", None, "b"): (Do.DOWNLOAD, Do.DOWNLOAD),
    ("a", None, None): (Do.FORGET, Do.FORGET),
}


@pytest.mark.parametrize(("case", "wanted"), [(case, wanted) for case, wanted in CASES.items()])
def test_each_case(case: tuple[str | None, str | None, str | None], wanted: tuple[Do | None, Do | None]) -> None:
    for rules, do in zip((BOTH_WAYS, MIRROR), wanted, strict=True):
        made = planned(*case, rules)
        assert [action.do for action in made.actions] == ([do] if do else [])
        assert all(action.path == "name" and action.reason for action in made.actions)
        assert (made.withheld, made.left) == ("", {})


def test_the_cases_are_all() -> None:
    assert {(was is not None, here and here == was, there and there == was) for was, here, there in CASES} >= set(
        itertools.product([True], [None, True, False], [None, True, False])
    )


@pytest.mark.parametrize(
    ("case", "expected"),
    [(("a", "b", "a"), "a"), (("a", "b", None), None), ((None, "b", None), None), (("a", None, "a"), "a")],
)
def test_what_is_replaced_there_is_named(case: tuple[str | None, str | None, str | None], expected: str | None) -> None:
    """A put or a delete says which version it means: None, that there is none."""
    (action,) = planned(*case, BOTH_WAYS).actions
    assert (action.key, action.expected) == ("name", expected)


def test_without_a_listing_what_is_there_is_taken_to_be_as_it_was() -> None:
    was = {path: known(path, "a") for path in ("same", "changed", "gone", *OTHERS)}
    files = {path: seen(path, "a") for path in OTHERS} | {"same": seen("same", "a"), "changed": seen("changed", "b"), "new": seen("new", "n", 7)}
    made = plan(was, Here(files), None, BOTH_WAYS)
    assert [(action.do, action.path, action.expected) for action in made.actions] == [
        (Do.UPLOAD, "changed", "a"), (Do.UPLOAD, "new", None), (Do.DELETE_THERE, "gone", "a"),
    ]  # fmt: skip


# Conflicts


COPY = "name.conflict-box-20261120T140500Z"


@pytest.mark.parametrize(
    ("here", "there", "wanted"),
    [
        ("mine", {"name": "theirs", COPY: "mine"}, [(Do.DOWNLOAD, COPY), (Do.DOWNLOAD, "name")]),
        ("mine2", {"name": "theirs", COPY: "mine"}, [(Do.UPLOAD, "name"), (Do.DOWNLOAD, COPY)]),
        ("mine2", {"name": "theirs", COPY: "other"}, [(Do.MEET, "name"), (Do.DOWNLOAD, COPY)]),
        ("mine", {COPY: "mine"}, [(Do.FORGET, "name"), (Do.DOWNLOAD, COPY)]),
        (None, {"name": "theirs", COPY: "mine"}, [(Do.FORGET, "name"), (Do.DOWNLOAD, COPY)]),
        ("mine", {"name": "theirs"}, [(Do.DOWNLOAD, "name")]),
        (None, {}, [(Do.FORGET, "name")]),
    ],
)
def test_what_is_kept_as_a_copy_there(here: str | None, there: dict[str, str], wanted: list[tuple[Do, str]]) -> None:
    """At the next start the name is the other side's, and the copy a file of its own."""
    was = {path: known(path, "same") for path in OTHERS} | {"name": known("name", "mine", COPY)}
    files = {path: seen(path, "same") for path in OTHERS} | ({"name": seen("name", here)} if here else {})
    made = plan(was, Here(files), There({**{path: remote("same") for path in OTHERS}, **{key: remote(is_) for key, is_ in there.items()}}), BOTH_WAYS)
    assert sorted((action.do, action.path) for action in made.actions) == sorted(wanted)


@pytest.mark.parametrize(("here", "wanted"), [("mine", []), ("mine2", [(Do.UPLOAD, COPY, "mine")]), (None, [])])
def test_while_a_notebook_runs_the_copy_is_what_goes_on(here: str | None, wanted: list[tuple[Do, str, str]]) -> None:
    was = {"name": known("name", "mine", COPY), "x": known("x", "x")}
    files = {"x": seen("x", "x")} | ({"name": seen("name", here)} if here else {})
    assert [(action.do, action.key, action.expected) for action in plan(was, Here(files), None, BOTH_WAYS).actions] == wanted


def test_a_copys_name() -> None:
    assert copy_of("a/paper", "Box.lab", "20261120T140500Z") == "a/paper.conflict-box-lab-20261120T140500Z"
    assert copy_of("x", "", "20261120T140500Z", 2) == "x.conflict-box-20261120T140500Z-2"
    for path in ("a/" + "ü" * 120, "b" * 255, "x"):
        made = copy_of(path, "h" * 80, "20261120T140500Z", 99)
        assert is_copy(made)
        assert unfit(made) == ""
    assert not is_copy("a/paper.conflict-of-interest")


# Names


@pytest.mark.parametrize(
    "key",
    ["../up", "a/../b", "..", ".", "./c", "/abs", "a//b", "//", "a/", "nul\0byte", "new\nline", "c\x01", "\x7f", "x" * 256, "ü" * 128,
     "a/" * 520 + "b", ".nbd-restore-0", "d/.nbd-restore-0/x", "lone\udcff"],
)  # fmt: skip
def test_names_that_no_file_or_no_object_can_have(key: str) -> None:
    assert unfit(key)
    there = sorted_out([Named(key, remote("x"))], {})
    assert there.objects == {}


@pytest.mark.parametrize(
    "key", ["a", "a b", "ü/é", "100%", "%41", "a\\b", "a*?", "~", "-rf", "...", "..a", "#x", "q\"'<>&", "x" * 255, ".hidden/y", "CON", "a:b", " "]
)
def test_names_that_both_can_have(key: str) -> None:
    assert unfit(key) == ""
    assert set(sorted_out([Named(key, remote("x"))], {}).objects) == {key}


def test_a_key_has_its_limit_with_its_prefix() -> None:
    assert unfit("x/" * 400 + "y", "p" * 222) == ""
    assert unfit("x/" * 400 + "y", "p" * 223) != ""


def test_names_that_differ_by_case_are_two() -> None:
    assert set(sorted_out([Named("Paper", remote("x")), Named("paper", remote("y"))], {}).objects) == {"Paper", "paper"}


def test_marks_of_folders_are_nothing_and_a_file_that_is_a_folder_is_left_alone() -> None:
    empty, full = Remote(0, "e", 0), Remote(3, "f", 0)
    there = sorted_out([Named("mark/", empty), Named("mark", empty), Named("mark/x", full), Named("alone/", empty)], {})
    assert (set(there.objects), there.left) == ({"mark/x"}, {})
    there = sorted_out([Named("both", full), Named("both/x", full)], {})
    assert (set(there.objects), set(there.left)) == ({"both/x"}, {"both"})
    # As some libraries show them, both without the slash, in any order: what has content is an object.
    for pair in itertools.permutations([Named("d", full), Named("d", empty)]):
        assert sorted_out(pair, {}).objects == {"d": full}
    assert sorted_out([Named("d/", empty), Named("d", full)], {}).objects == {"d": full}
    assert sorted_out([Named("d", empty)], {}).objects == {"d": empty}


def two_ways(was: dict[str, str], here: dict[str, str], there: dict[str, str]) -> Plan:
    """As much again is the same everywhere."""
    return plan(
        {path: known(path, version) for path, version in (was | OTHERS).items()},
        Here({path: seen(path, version, number) for number, (path, version) in enumerate((OTHERS | here).items())}),
        sorted_out([Named(key, remote(version)) for key, version in (there | OTHERS).items()], {}),
        BOTH_WAYS,
    )


def did(made: Plan) -> list[tuple[Do, str]]:
    return [(action.do, action.path) for action in made.actions if not action.path.startswith("other")]


def test_a_file_that_became_a_folder() -> None:
    assert did(two_ways({"a": "1"}, {"a/b": "2"}, {"a": "1"})) == [(Do.UPLOAD, "a/b"), (Do.DELETE_THERE, "a")]
    was = {path: known(path, "same") for path in OTHERS} | {"a": known("a", "1")}
    files = {path: seen(path, "same") for path in OTHERS} | {"a": seen("a", "1")}
    there = There({path: remote("same") for path in OTHERS} | {"a/b": remote("2")})
    assert did(plan(was, Here(files), there, BOTH_WAYS)) == [(Do.DELETE_HERE, "a"), (Do.DOWNLOAD, "a/b")]


def test_a_file_that_became_a_folder_and_whose_deletion_was_cut_off() -> None:
    assert did(two_ways({"a": "1"}, {"a/b": "2"}, {"a": "1", "a/b": "2"})) == [(Do.MEET, "a/b"), (Do.DELETE_THERE, "a")]
    for was, here in (({}, {"a/b": "2"}), ({"a": "0"}, {"a/b": "2"}), ({"a": "1"}, {"a": "1"})):
        made = two_ways(was, here, {"a": "1", "a/b": "2"})
        assert (Do.DELETE_THERE, "a") not in did(made)
        assert "a" in made.left


def test_a_file_in_the_way_stays_and_is_said() -> None:
    made = two_ways({}, {"a": "1"}, {"a/b": "2"})
    assert did(made) == [(Do.UPLOAD, "a")]
    assert made.left == {"a/b": "a is a file here"}
    made = two_ways({}, {"a/b": "1"}, {"a": "2"})
    assert did(made) == [(Do.UPLOAD, "a/b")]
    assert made.left == {"a": "it is a folder here"}


def test_what_is_closed_on_either_side_is_left_alone_on_both() -> None:
    """A link in a folder's place, a folder that cannot be read, a listing that does not say: nothing there was deleted."""
    was = {path: known(path, "1") for path in ("d/x", "d/y/z", "e", "f/g")}
    here = Here({"f/g": seen("f/g", "2")}, closed={"d": "it is a symbolic link", "e": "Permission denied"})
    there = There({"d/x": remote("2"), "e": remote("2"), "f/g": remote("1"), "f/h": remote("1")}, closed={"f": "the store does not list it"})
    made = plan(was, here, there, BOTH_WAYS)
    assert made.actions == ()
    assert made.left.keys() == {"d", "e", "f"}
    assert plan(was, Here(closed={"": "it cannot be read"}), there, BOTH_WAYS).actions == ()
    assert plan(was, here, There(left={"f/g": "odd"}, objects={}), BOTH_WAYS).of(Do.DELETE_HERE, Do.UPLOAD) == ()


# Holes where data should be


def many(count: int) -> dict[str, str]:
    return {f"f{number}": "1" for number in range(count)}


@pytest.mark.parametrize(
    ("had", "left", "held"),
    [(100, 74, True), (100, 75, False), (100, 0, True), (1, 0, True), (30, 10, False), (90, 69, False), (80, 59, True), (50_000, 39_999, True)],
)
def test_much_that_is_gone_is_carried_to_neither_side(had: int, left: int, held: bool) -> None:  # noqa: FBT001
    was = {path: known(path, "1") for path in many(had)}
    for number, path in enumerate(was):
        was[path] = was[path]._replace(ino=number)
    all_here = Here({path: seen(path, "1", number) for number, path in enumerate(many(had))})
    some_here = Here({path: seen(path, "1", number) for number, path in enumerate(many(left))})
    all_there, some_there = There({path: remote("1") for path in many(had)}), There({path: remote("1") for path in many(left)})
    for made, do in ((plan(was, some_here, all_there, BOTH_WAYS), Do.DELETE_THERE), (plan(was, all_here, some_there, BOTH_WAYS), Do.DELETE_HERE)):
        assert bool(made.withheld) is held
        assert len(made.of(do)) == (0 if held else had - left)
    confirmed = Rules(writable=True, confirmed=True)
    assert len(plan(was, some_here, all_there, confirmed).of(Do.DELETE_THERE)) == had - left
    assert len(plan(was, all_here, some_there, confirmed).of(Do.DELETE_HERE)) == had - left
    # A mirror can be had again, but for one of nothing at all.
    assert bool(plan(was, all_here, some_there, MIRROR).withheld) is (left == 0)


def test_what_was_renamed_is_not_gone() -> None:
    was = {path: known(path, "1")._replace(ino=number) for number, path in enumerate(many(100))}
    here = Here({f"new/{path}": seen(path, "1", number) for number, path in enumerate(many(100))})
    made = plan(was, here, None, BOTH_WAYS)
    assert made.withheld == ""
    assert (len(made.of(Do.UPLOAD)), len(made.of(Do.DELETE_THERE))) == (100, 100)


def test_a_file_in_the_way_whose_end_is_withheld_blocks_what_would_come() -> None:
    was = {"a": known("a", "1")}
    made = plan(was, Here({"a": seen("a", "1")}), There({}), BOTH_WAYS)
    assert (made.actions, bool(made.withheld)) == ((), True)
    made = plan({**was, **{path: known(path, "1") for path in many(90)}}, Here({"a": seen("a", "1"), **{path: seen(path, "1") for path in many(90)}}),
                There({"a/b": remote("2")}), BOTH_WAYS)  # fmt: skip
    assert made.of(Do.DOWNLOAD) == ()
    assert made.left == {"a/b": "a is a file here"}


# No plan loses anything


@dataclass
class World:
    """Both sides by content, carried out as the plan says; what cannot be is skipped as a file system and a store would."""

    here: dict[str, str]
    there: dict[str, str]
    ledger: dict[str, Known] = field(default_factory=dict)
    copies: int = 0

    def round(self, *, listed: bool, rules: Rules) -> Plan:
        there = sorted_out([Named(key, remote(version)) for key, version in self.there.items()], {}) if listed else None
        made = plan(self.ledger, Here({path: seen(path, version) for path, version in self.here.items()}), there, rules)
        for action in made.actions:
            self.act(action)
        return made

    def act(self, action: Action) -> None:
        path, key = action.path, action.key
        match action.do:
            case Do.FORGET:
                del self.ledger[path]
            case Do.UPLOAD | Do.MEET:
                self.put(path, key, action.expected, meet=action.do is Do.MEET)
            case Do.DELETE_THERE:
                if self.there.get(key) == action.expected:
                    self.there.pop(key, None)
                del self.ledger[path]
            case Do.DELETE_HERE:
                self.here.pop(path)
                self.ledger.pop(path, None)
            case Do.DOWNLOAD:
                assert not any(other.startswith(path + "/") or path.startswith(other + "/") for other in self.here), "something is in the way"
                self.here[path] = self.there[key]
                self.ledger[path] = known(path, self.there[key])

    def put(self, path: str, key: str, expected: str | None, *, meet: bool) -> None:
        mine = self.here[path]
        if meet or self.there.get(key) != expected:
            if self.there.get(key) == mine:
                self.ledger[path] = known(path, mine, key)
                return
            key = copy_of(path, "box", "20261120T140500Z", self.copies)
            self.copies += 1
        self.there[key] = mine
        self.ledger[path] = known(path, mine, key)


NAMES = st.sampled_from(["a", "a/b", "a/b/c", "b", "c/d", "c"])
SIDES = st.dictionaries(NAMES, st.sampled_from(["1", "2", "3"]), max_size=5)


def on_a_disk(paths: dict[str, str]) -> dict[str, str]:
    """Without files below files."""
    return {path: version for path, version in paths.items() if not any(path.startswith(other + "/") for other in paths)}


@given(SIDES, SIDES, SIDES, st.booleans())
@settings(max_examples=600, deadline=None)
def test_nothing_that_only_one_side_has_is_ever_lost(base: dict[str, str], here: dict[str, str], there: dict[str, str], listed: bool) -> None:  # noqa: FBT001
    base = on_a_disk(base)
    world = World({path: f"{path} {is_} here" for path, is_ in on_a_disk(here).items()}, {key: f"{key} {is_} there" for key, is_ in there.items()})
    for path, version in base.items():
        # A third of what was in step is untouched here, a third there.
        world.ledger[path] = known(path, f"{path} base")
        if version == "1" and not any(other.startswith(path + "/") or path.startswith(other + "/") for other in world.here):
            world.here[path] = f"{path} base"
        if version == "2":
            world.there[path] = f"{path} base"
    before = {version for version in (*world.here.values(), *world.there.values()) if not version.endswith("base")}
    for number in range(6):
        made = world.round(listed=listed or number > 0, rules=BOTH_WAYS)
        assert before <= {*world.here.values(), *world.there.values()}
        if number and not made.actions:
            break
    else:
        pytest.fail(f"it never comes to rest: {made}")
    if not made.left and not made.withheld:
        assert world.here == world.there
