"""The least that a store must allow: all that nbd does, nothing else, and nobody else's. What IAM makes of a policy is evaluated here as its
reference says; moto, which knows no conditions, enforces the rest in tests/contracts/test_store_policy.py."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbd.homes.stores import layout, policy

WHERES = ["s3://homes", "s3://homes/lab/people", "s3://homes/{user}/nbd", "s3://homes/nbd-{user}", "s3://nbd-{user}", "s3://nbd-{user}/homes"]
ODD = ["ada", "adam", "a*", "ad?", "${aws:username}", "."]
NAMES = st.one_of(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20), st.sampled_from(ODD))
KEYS = ("latest", "config.copy", "data/ab", "snapshots/cd")


def like(pattern: str, value: str) -> bool:
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern), value, re.DOTALL) is not None


def allowed(document: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """No statement of ours denies, so one that fits is enough. A condition on a key that the request does not have is not met."""
    for statement in document["Statement"]:
        assert (statement["Effect"], set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}) == ("Allow", set())
        conditions = statement.get("Condition", {}).get("StringLike", {})
        assert set(statement.get("Condition", {})) <= {"StringLike"}
        fits = any(like(one, action) for one in statement["Action"]) and any(like(one, resource) for one in statement["Resource"])
        if fits and all(any(like(one, context.get(key, "\0")) for one in wanted) for key, wanted in conditions.items()):
            return True
    return False


def requests(where: str, person: str) -> list[tuple[str, str, dict[str, str]]]:
    """All that nbd asks S3 for to keep this person's snapshots."""
    spot = layout.parse(where).spot(person)
    prefix = f"{spot.prefix}/" if spot.prefix else ""
    bucket = f"arn:aws:s3:::{spot.bucket}"
    objects: list[tuple[str, str, dict[str, str]]] = [
        (action, f"{bucket}/{prefix}{key}", {}) for key in KEYS for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    ]
    lists = [prefix + folder for folder in ("", "data/", "snapshots/")]
    return [*objects, *(("s3:ListBucket", bucket, {"s3:prefix": listed} if listed else {}) for listed in lists)]


@given(NAMES, NAMES, st.sampled_from(WHERES))
def test_all_of_ones_own_and_nothing_of_anothers(mine: str, theirs: str, where: str) -> None:
    found = json.loads(policy.document(layout.parse(where), mine))
    for action, resource, context in requests(where, mine):
        assert allowed(found, action, resource, context), (action, resource, context)
    for action, resource, context in requests(where, theirs) if mine != theirs else []:
        assert not allowed(found, action, resource, context), (action, resource, context)


@given(NAMES, st.sampled_from(WHERES))
def test_sync_may_keep_everybody(person: str, where: str) -> None:
    found = json.loads(policy.document(layout.parse(where), None))
    for action, resource, context in requests(where, person):
        assert allowed(found, action, resource, context), (action, resource, context)


@pytest.mark.parametrize("where", WHERES)
@pytest.mark.parametrize("person", ["ada", None])
def test_nothing_else(where: str, person: str | None) -> None:
    found = json.loads(policy.document(layout.parse(where), person))
    prefix = policy.place(layout.parse(where), person)[1]
    for name in ("DeleteObjectVersion", "PutObjectAcl", "PutBucketPolicy", "ListAllMyBuckets", "CreateBucket", "BypassGovernanceRetention"):
        action = f"s3:{name}"
        assert not allowed(found, action, f"arn:aws:s3:::homes/{prefix}latest", {})
        assert not allowed(found, action, "arn:aws:s3:::nbd-ada/latest", {})
    for resource in ("arn:aws:s3:::other", "arn:aws:s3:::other/latest", "arn:aws:s3:::homes-2/ada/latest"):
        assert not any(allowed(found, action, resource, {"s3:prefix": "ada/"}) for action in (*policy.OBJECTS, "s3:ListBucket"))
    if prefix:
        assert not allowed(found, "s3:ListBucket", "arn:aws:s3:::homes", {}), "the whole bucket is not one's own"
        assert not allowed(found, "s3:GetObject", "arn:aws:s3:::homes/other/latest", {})


@pytest.mark.parametrize(
    ("where", "person", "words"),
    [
        ("s3://homes", "ada", ["aws iam put-user-policy --user-name ada"]),
        ("az://homes", "ada", ["az storage fs directory generate-sas", "--file-system homes --name ada --permissions rcwdl"]),
        ("az://nbd-{user}", "ada", ["az storage container generate-sas", "--name nbd-ada "]),
        ("az://nbd-{user}", None, ["for each container CONTAINER that fits nbd-*", "--name CONTAINER "]),
        ("gs://homes/lab", "ada", ["managed-folders create gs://homes/lab/ada/", "add-iam-policy-binding gs://homes/lab/ada/", "storage.objectUser"]),
        ("gs://nbd-{user}", None, ["for each bucket BUCKET that fits nbd-*", "buckets add-iam-policy-binding gs://BUCKET "]),
    ],
)
def test_the_steps_name_what_they_are_about(where: str, person: str | None, words: list[str]) -> None:
    found = "\n".join(policy.steps(layout.parse(where), person))
    assert all(word in found for word in words), found
    assert policy.document(layout.parse(where), person).startswith("{") == where.startswith("s3")
