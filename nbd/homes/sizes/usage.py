"""What a home takes on its disk, and where: adds up folders in whatever order they are visited. Pure.

A file counts as many bytes as the disk gives it, and once however many names it has. The size of what is kept out of snapshots is known by rule
and by place, and the usual suspects are weighed on the way (culprits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from . import culprits

DEPTH = 3
"""So deep folders are told apart; what is below counts for the one above."""
MOST_FOLDERS, MOST_PLACES = 20_000, 5_000
MOST_LINKED = 500_000
"""Files with several names that are remembered; the rest count once for each name."""
SHOWN_FOLDERS, SHOWN_PLACES, SHOWN_CULPRITS = 40, 12, 12
WORTH = 0.005
"""A folder below this share of the home is not shown."""
Rule = Callable[[bytes, bool], str]
"""Of a path, and whether it is a folder: the line that leaves it out of snapshots, or nothing."""


class Sized(NamedTuple):
    """A name in a folder that is not a folder. `linked`: its inode, where it has more names than this."""

    name: bytes
    bytes: int
    linked: int = 0


@dataclass(frozen=True, slots=True)
class Here:
    """What is in one folder. `seen` False: it could not be read, is another's, or is of another file system."""

    files: Sequence[Sized] = ()
    folders: Sequence[bytes] = ()
    bytes: int = 0
    """The folder's own."""
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Visit:
    """A folder still to be visited, and what is known of it from the way there."""

    path: bytes = b""
    rule: str = ""
    """Why it is left out of snapshots."""
    place: bytes = b""
    """The folder under which it is told, where it is left out."""
    outermost: bool = False
    """The rule is about this very folder."""
    culprit: str = ""
    suspect: bytes = b""
    """The folder that is the culprit."""


@dataclass(slots=True)
class Sum:
    bytes: int = 0
    files: int = 0
    excluded: int = 0
    """Bytes that are not in snapshots."""

    def add(self, size: int, files: int, excluded: int) -> None:
        self.bytes += size
        self.files += files
        self.excluded += excluded


@dataclass(frozen=True, slots=True)
class FolderUse:
    path: bytes
    bytes: int
    files: int
    excluded: int


@dataclass(frozen=True, slots=True)
class PlaceUse:
    path: bytes
    rule: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class RuleUse:
    rule: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class CulpritUse:
    kind: str
    place: bytes
    """Empty where there are many, told together."""
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Usage:
    bytes: int
    files: int
    excluded_bytes: int
    excluded_files: int
    unseen: int
    """Folders that could not be looked into."""
    whole: bool
    """False: there is more than was counted."""
    folders: tuple[FolderUse, ...] = ()
    """The largest, by path: each is after the one it is in."""
    places: tuple[PlaceUse, ...] = ()
    """What is left out of snapshots, largest first."""
    rules: tuple[RuleUse, ...] = ()
    culprits: tuple[CulpritUse, ...] = ()


@dataclass(slots=True)
class Counting:
    """Feed it what each visit found; it says where to go next. `rule` is asked about each name that is not left out with its folder."""

    rule: Rule
    entries: int = 0
    unseen: int = 0
    _folders: dict[bytes, Sum] = field(default_factory=dict)
    _places: dict[tuple[bytes, str], Sum] = field(default_factory=dict)
    _culprits: dict[tuple[str, bytes], Sum] = field(default_factory=dict)
    _linked: set[int] = field(default_factory=set)

    def feed(self, found: Iterable[tuple[Visit, Here]]) -> list[Visit]:
        return [visit for one, here in found for visit in self._folder(one, here)]

    def _folder(self, visit: Visit, here: Here) -> list[Visit]:
        self.unseen += not here.seen
        self.entries += 1 + len(here.files)
        size, files, excluded, left_out = here.bytes, 0, 0, 0
        for file in here.files:
            if self._again(file):
                continue
            size, files = size + file.bytes, files + 1
            self._suspicious(visit, file)
            rule = visit.rule or self.rule(join(visit.path, file.name), False)  # noqa: FBT003 - the port's shape
            if rule and not visit.rule:
                excluded, left_out = excluded + file.bytes, left_out + 1
                self._place(visit.path, rule).add(file.bytes, 1, file.bytes)
        if visit.rule:
            excluded = size
            self._place(visit.place, visit.rule).add(size, files, size)
        self._note(visit.path, size, files, excluded)
        if visit.culprit:
            self._culprits.setdefault((visit.culprit, visit.suspect), Sum()).add(size, files, 0)
        return [self._below(visit, name) for name in here.folders]

    def _below(self, visit: Visit, name: bytes) -> Visit:
        path = join(visit.path, name)
        rule, place = visit.rule or self.rule(path, True), visit.place  # noqa: FBT003 - the port's shape
        if not visit.rule or (visit.outermost and len(self._places) < MOST_PLACES):
            place = path  # One level below what is left out is told apart: .cache/huggingface.
        culprit, suspect = visit.culprit, visit.suspect
        if not culprit:
            culprit = culprits.of_folder(path)
            suspect = b"" if not culprit or culprits.KINDS[culprit].together else path
        return Visit(path, rule, place if rule else b"", bool(rule) and not visit.rule, culprit, suspect)

    def _suspicious(self, visit: Visit, file: Sized) -> None:
        kind = "" if visit.culprit else culprits.of_file(file.name, file.bytes)
        if kind and len(self._culprits) < MOST_PLACES:
            self._culprits.setdefault((kind, join(visit.path, file.name)), Sum()).add(file.bytes, 1, 0)

    def _again(self, file: Sized) -> bool:
        """Another name of a file that was counted."""
        if not file.linked:
            return False
        if file.linked in self._linked:
            return True
        if len(self._linked) < MOST_LINKED:
            self._linked.add(file.linked)
        return False

    def _place(self, path: bytes, rule: str) -> Sum:
        return self._places.setdefault((path if len(self._places) < MOST_PLACES else b"", rule), Sum())

    def _note(self, path: bytes, size: int, files: int, excluded: int) -> None:
        for folder in upwards(path):
            if folder in self._folders or len(self._folders) < MOST_FOLDERS:
                self._folders.setdefault(folder, Sum()).add(size, files, excluded)

    def usage(self, *, whole: bool) -> Usage:
        home = self._folders.get(b"", Sum())
        left_out = sum(one.files for one in self._places.values())
        return Usage(
            home.bytes, home.files, home.excluded, left_out, self.unseen, whole,
            largest(self._folders, home.bytes), self._shown_places(), self._shown_rules(), self._shown_culprits(),
        )  # fmt: skip

    def _shown_places(self) -> tuple[PlaceUse, ...]:
        by_size = sorted(self._places.items(), key=lambda one: (-one[1].bytes, one[0]))
        return tuple(PlaceUse(path, rule, one.bytes, one.files) for (path, rule), one in by_size[:SHOWN_PLACES] if one.bytes)

    def _shown_rules(self) -> tuple[RuleUse, ...]:
        rules: dict[str, Sum] = {}
        for (_, rule), one in self._places.items():
            rules.setdefault(rule, Sum()).add(one.bytes, one.files, one.bytes)
        by_size = sorted(rules.items(), key=lambda one: (-one[1].bytes, one[0]))
        return tuple(RuleUse(rule, one.bytes, one.files) for rule, one in by_size[:SHOWN_PLACES] if one.files)

    def _shown_culprits(self) -> tuple[CulpritUse, ...]:
        by_size = sorted(self._culprits.items(), key=lambda one: (-one[1].bytes, one[0]))
        worth = [(key, one) for key, one in by_size if one.bytes >= culprits.BIG]
        return tuple(CulpritUse(kind, place, one.bytes, one.files) for (kind, place), one in worth[:SHOWN_CULPRITS])


def largest(folders: dict[bytes, Sum], home: int) -> tuple[FolderUse, ...]:
    """Those that matter, each with the ones above it."""
    worth = [path for path, one in folders.items() if path and one.bytes >= max(1, WORTH * home)]
    worth.sort(key=lambda path: (-folders[path].bytes, path))
    shown = {folder for path in worth[:SHOWN_FOLDERS] for folder in upwards(path) if folder}
    return tuple(FolderUse(path, folders[path].bytes, folders[path].files, folders[path].excluded) for path in sorted(shown, key=parts))


def parts(path: bytes) -> list[bytes]:
    return path.split(b"/")


def upwards(path: bytes) -> list[bytes]:
    """The folders that a path counts for: the home first, then down to DEPTH."""
    names = parts(path)[:DEPTH] if path else []
    return [b"", *(b"/".join(names[: number + 1]) for number in range(len(names)))]


def join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
