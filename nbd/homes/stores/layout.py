"""Where in a store each person's objects lie: a prefix a person in one bucket, or a bucket a person. Pure.

No two accounts ever share a place, whatever their names are made of: what is not plain is escaped (a prefix) or gets a mark of its own (a bucket).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ...errors import InvalidInput

USER = "{user}"
SCHEMES = ("s3", "az", "gs")
SHAPES = f"s3://bucket/prefix, az://container/prefix, gs://bucket/prefix; one bucket a person: s3://nbd-{USER}"
BRACES = re.compile(r"\{.*?\}|[{}]")
SEGMENT = re.compile(r"[A-Za-z0-9._@=+-]+")
FIXED_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
"""Of a bucket that exists already: S3's oldest and other vendors' may be called what new ones may not."""
MADE_BUCKET = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What S3, Azure and GCS all take, and all read in the same way."""
LONGEST_BUCKET = 63
PLAIN = MADE_BUCKET
MARK = re.compile(r"(^|-)x[0-9a-f]{31}$")
MARK_LENGTH = 32
FIXED_ROOM = (3, 20)
"""Letters that stand beside {user}: bucket names are the whole world's, and a mark must have room."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one person's objects are. `prefix` has no slash at its ends and is empty for the whole bucket."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Layout:
    """`homes.store`, where it is a bucket. `bucket` or `prefix` may hold {user}; where neither does, the person is the end of the prefix."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def bucket_a_person(self) -> bool:
        return USER in self.bucket

    @property
    def root(self) -> str:
        """Of a shared bucket: what stands in the keys before the folder of a person, with its slash."""
        return "".join(f"{part}/" for part in self._path[: self._place])

    @property
    def _path(self) -> list[str]:
        parts = self.prefix.split("/") if self.prefix else []
        return parts if self.bucket_a_person or USER in self.prefix else [*parts, USER]

    @property
    def _place(self) -> int:
        return next(number for number, part in enumerate(self._path) if USER in part)

    def spot(self, person: str) -> Spot:
        if self.bucket_a_person:
            fixed = len(self.bucket) - len(USER)
            return Spot(self.scheme, self.bucket.replace(USER, bucket_part(person, LONGEST_BUCKET - fixed)), self.prefix)
        return Spot(self.scheme, self.bucket, "/".join(self._path).replace(USER, part_of(person)))

    def person(self, folder: str) -> str | None:
        """Whose this folder below `root` of a shared bucket is; None if nobody's."""
        before, _, after = self._path[self._place].partition(USER)
        name = folder.removeprefix(before).removesuffix(after)
        return unquoted(name) if f"{before}{name}{after}" == folder else None


def parse(where: str) -> Layout:
    """Raises InvalidInput that names the wrong part."""
    scheme, found, rest = where.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.removesuffix("/")
    if not found or scheme not in SCHEMES or not bucket:
        raise wrong(where, "is not a store")
    if set(BRACES.findall(where)) - {USER} or where.count(USER) > 1:
        raise wrong(where, f"may hold {USER} once, and no other brace")
    if USER in bucket:
        fixed = bucket.replace(USER, "")
        if not MADE_BUCKET.fullmatch(bucket.replace(USER, "x")) or not FIXED_ROOM[0] <= len(fixed) <= FIXED_ROOM[1]:
            least, most = FIXED_ROOM
            raise wrong(where, f"has a bucket name of small letters, digits and single hyphens, with {least} to {most} of them beside {USER}")
    elif not FIXED_BUCKET.fullmatch(bucket):
        raise wrong(where, f"has the bucket {bucket!r}, which cannot be one's name")
    for part in prefix.replace(USER, "x").split("/") if prefix else ():
        if not SEGMENT.fullmatch(part) or part in (".", ".."):
            raise wrong(where, f"has {part!r} in its prefix; letters, digits and . _ @ = + - may be there")
    return Layout(scheme, bucket, prefix)


def wrong(where: str, what: str) -> InvalidInput:
    return InvalidInput(f"homes.store: {where} {what}", hint=SHAPES, code="bad_config")


def part_of(person: str) -> str:
    """An account's name as one name in a path, and back by unquoting: never empty, "." or "..", with no dot at its ends, leading nowhere else."""
    part = quote(person, safe="@-_.", errors="surrogateescape")
    if part.endswith("."):
        part = part[:-1] + "%2E"
    return f"%2E{part[1:]}" if part.startswith(".") else part


def unquoted(name: str) -> str | None:
    """Whose part this is; None for what `part_of` never makes."""
    person = unquote(name, errors="surrogateescape")
    return person if person and part_of(person) == name else None


def bucket_part(person: str, room: int) -> str:
    """An account's name within the name of a bucket. A plain one stays as it is; any other is made plain, and marked with 124 bits of its hash,
    and a plain one that looks marked is marked too: so no two are alike."""
    if PLAIN.fullmatch(person) and len(person) <= room and not MARK.search(person):
        return person
    mark = "x" + hashlib.sha256(person.encode("utf-8", "surrogateescape")).hexdigest()[: MARK_LENGTH - 1]
    readable = re.sub(r"[^a-z0-9]+", "-", person.lower())[: max(room - MARK_LENGTH - 1, 0)].strip("-")
    return f"{readable}-{mark}" if readable else mark
