"""The least that a store must allow for one person's snapshots, or for everybody's. Pure.

Read, write, delete below one prefix, and list it; nothing of buckets, of versions, of access rules. Where the bucket keeps versions, who has these
rights cannot destroy what was there: a delete only covers it.
"""

from __future__ import annotations

import json

from .layout import USER, Layout

OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")


def place(layout: Layout, person: str | None) -> tuple[str, str]:
    """Bucket and prefix, which ends with a slash or is empty. Of everybody: the bucket with a * for the person, and the prefix before them."""
    if person is not None:
        spot = layout.spot(person)
        return spot.bucket, f"{spot.prefix}/" if spot.prefix else ""
    if layout.bucket_a_person:
        return layout.bucket.replace(USER, "*"), f"{layout.prefix}/" if layout.prefix else ""
    return layout.bucket, layout.root


def s3(layout: Layout, person: str | None) -> dict[str, object]:
    bucket, prefix = place(layout, person)
    arn = f"arn:aws:s3:::{bucket}"
    listing: dict[str, object] = {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn]}
    if prefix:
        # The end is a slash, so that ada's does not cover adam's.
        listing["Condition"] = {"StringLike": {"s3:prefix": [f"{prefix}*"]}}
    objects = {"Sid": "Objects", "Effect": "Allow", "Action": list(OBJECTS), "Resource": [f"{arn}/{prefix}*"]}
    return {"Version": "2012-10-17", "Statement": [objects, listing]}


def document(layout: Layout, person: str | None) -> str:
    return json.dumps(s3(layout, person), indent=2) if layout.scheme == "s3" else ""


def steps(layout: Layout, person: str | None) -> tuple[str, ...]:
    bucket, prefix = place(layout, person)
    who = person or "nbd-sync"
    return {"s3": s3_steps, "az": azure_steps, "gs": gcs_steps}[layout.scheme](bucket, prefix, who)


def s3_steps(bucket: str, prefix: str, who: str) -> tuple[str, ...]:
    many = "*" in bucket
    return (
        f"nbctl admin storage policy{f' --user {who}' if who != 'nbd-sync' else ''} --document > policy.json",
        f"aws iam put-user-policy --user-name {who} --policy-name nbd --policy-document file://policy.json",
        f"# So that what is deleted can come back{', for each bucket that fits ' + bucket if many else ''}:",
        f"aws s3api put-bucket-versioning --bucket {'BUCKET' if many else bucket} --versioning-configuration Status=Enabled",
    )


def azure_steps(bucket: str, prefix: str, who: str) -> tuple[str, ...]:
    many = "*" in bucket
    container = "CONTAINER" if many else bucket
    rights = "--permissions rcwdl --https-only --expiry DATE"
    each = ("for each container CONTAINER that fits " + bucket + ":",) if many else ()
    if prefix:
        path = prefix.rstrip("/")
        return (
            *each,
            "# A right to one folder alone needs an account with a hierarchical namespace; without one, give each person a container.",
            f"az storage fs directory generate-sas --account-name ACCOUNT --file-system {container} --name {path} {rights}",
        )
    return (*each, f"az storage container generate-sas --account-name ACCOUNT --name {container} {rights}")


def gcs_steps(bucket: str, prefix: str, who: str) -> tuple[str, ...]:
    member = "--member=serviceAccount:ACCOUNT --role=roles/storage.objectUser"
    many = "*" in bucket
    name = "BUCKET" if many else bucket
    each = ("for each bucket BUCKET that fits " + bucket + ":",) if many else ()
    if prefix:
        folder = f"gs://{name}/{prefix}"
        return (
            *each,
            f"gcloud storage buckets update gs://{name} --uniform-bucket-level-access",
            f"gcloud storage managed-folders create {folder}",
            f"gcloud storage managed-folders add-iam-policy-binding {folder} {member}",
        )
    return (*each, f"gcloud storage buckets add-iam-policy-binding gs://{name} {member}")
