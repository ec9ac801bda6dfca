"""Where people's objects lie: names that try everything, and what is no store at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.errors import InvalidInput
from nbd.homes.stores.layout import Layout, Spot, bucket_part, parse, part_of, unquoted

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text("ab-x0._A", min_size=1, max_size=50),
    st.sampled_from(["ada", "Ada", "ada-", "-", "..", ".", "a..b", "x" + "0" * 31, "ada-x" + "0" * 31, "%2E", "a/b", "D\\ada", "caf\udce9"]),
)
WHERES = ["s3://homes", "s3://homes/a/b", "gs://homes/people/nbd-{user}/x", "az://nbd-{user}", "s3://nbd-{user}-x/a", "s3://nbd{user}"]


@pytest.mark.parametrize(
    ("where", "bucket", "prefix"),
    [
        ("s3://homes", "homes", "D%5CAda"),
        ("s3://homes/", "homes", "D%5CAda"),
        ("az://homes/nbd/people", "homes", "nbd/people/D%5CAda"),
        ("gs://homes/{user}/nbd", "homes", "D%5CAda/nbd"),
        ("s3://nbd-{user}", "nbd-d-ada-x73e6eaa3b1e6ea4b3ba1cd2ed4e7b2f", ""),
        ("s3://nbd-{user}/homes", "nbd-d-ada-x73e6eaa3b1e6ea4b3ba1cd2ed4e7b2f", "homes"),
    ],
)
def test_the_place_of_a_person(where: str, bucket: str, prefix: str) -> None:
    spot = parse(where).spot("D\\Ada")
    assert (re.sub("x[0-9a-f]{31}$", "x", spot.bucket), spot.prefix) == (re.sub("x[0-9a-f]{31}$", "x", bucket), prefix)
    assert parse("s3://nbd-{user}").spot("ada").url == "s3://nbd-ada"


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("ftp://x/y", "is not a store"),
        ("s3://", "is not a store"),
        ("s3:///prefix", "is not a store"),
        ("s3://b/{name}", "no other brace"),
        ("s3://b/{user}/{user}", "once"),
        ("s3://b/{user", "no other brace"),
        ("s3://{user}", "beside"),
        ("s3://a-{user}", "beside"),
        ("s3://Homes-{user}", "small letters"),
        ("s3://homes.{user}", "small letters"),
        ("s3://homes--{user}", "single hyphens"),
        ("s3://a-very-long-name-of-a-box-{user}", "beside"),
        ("s3://ho mes", "cannot be one's name"),
        ("s3://homes/a//b", "'' in its prefix"),
        ("s3://homes/../b", "'..' in its prefix"),
        ("s3://homes/a b", "'a b' in its prefix"),
    ],
)
def test_what_is_wrong_is_named(where: str, why: str) -> None:
    with pytest.raises(InvalidInput) as said:
        parse(where)
    assert why in said.value.message
    assert where in said.value.message


@given(NAMES, NAMES, st.sampled_from(WHERES))
def test_no_two_share_a_place(one: str, other: str, where: str) -> None:
    layout = parse(where)
    assert (layout.spot(one) == layout.spot(other)) == (one == other)
    mine, theirs = layout.spot(one), layout.spot(other)
    assert one == other or mine.bucket != theirs.bucket or not f"{mine.prefix}/".startswith(f"{theirs.prefix}/")


@given(NAMES)
def test_a_part_leads_nowhere_and_back(person: str) -> None:
    part = part_of(person)
    assert re.fullmatch(r"[A-Za-z0-9@_.%~-]+", part)
    assert not part.startswith(".")
    assert not part.endswith(".")
    assert unquoted(part) == person


@given(NAMES, st.integers(43, 60))
def test_a_bucket_that_every_cloud_takes(person: str, room: int) -> None:
    name = bucket_part(person, room)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= room


@given(NAMES)
def test_nobody_can_be_called_like_anothers_mark(person: str) -> None:
    name = bucket_part(person, 60)
    assert name == person or bucket_part(name, 60) != name


@given(NAMES, st.sampled_from([where for where in WHERES if "nbd" not in where.split("/")[2]]))
def test_a_folder_tells_whose_it_is(person: str, where: str) -> None:
    layout = parse(where)
    spot = layout.spot(person)
    assert spot.prefix.startswith(layout.root)
    folder = spot.prefix[len(layout.root) :].partition("/")[0]
    assert layout.person(folder) == person


def test_strange_folders_are_nobodys() -> None:
    assert parse("s3://homes/nbd-{user}").person("other") is None
    assert parse("s3://homes").person("%2e") is None
    assert parse("s3://homes").person("") is None
    assert Layout("s3", "b", "").spot("ada") == Spot("s3", "b", "ada")
