"""Attached data on real parts: a bucket (moto) that boto3 uses beside nbd, notebooks in Podman that see it as folders."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.homes.bucket import BUCKET, KEYS, Bucket, s3

from .real_box import Person, RealBox, account, add_profile, free_port, podman, real_box, until

pytestmark = pytest.mark.real


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with s3(free_port()) as bucket:
        yield bucket


@pytest.fixture
def ada() -> Iterator[Person]:
    with account("nbdtest-una") as person:
        yield person


def profile(secrets: Path, url: str, path: str, *more: str) -> str:
    return f'title = "With data"\n[[attach]]\nurl = "{url}"\npath = "{path}"\nsecrets = "{secrets}"\n' + "".join(line + "\n" for line in more)


@pytest.fixture
def box(short_path: Path, ada: Person, bucket: Bucket) -> Iterator[RealBox]:
    folder = short_path / "d"
    folder.mkdir(mode=0o755)
    secrets = folder / "bucket.toml"
    secrets.write_text("".join(f'{key} = "{value}"\n' for key, value in {**KEYS, "endpoint": bucket.endpoint}.items()))
    secrets.chmod(0o600)
    add_profile(folder, "results", profile(secrets, f"s3://{BUCKET}/results/{{user}}", "/results", "writable = true"))
    add_profile(folder, "pictures", profile(secrets, f"s3://{BUCKET}/pictures", "/pictures"))
    away = f"s3://{BUCKET}/away"
    nowhere = folder / "away.toml"
    nowhere.write_text(secrets.read_text().replace(bucket.endpoint, f"http://127.0.0.1:{free_port()}"))
    nowhere.chmod(0o600)
    add_profile(folder, "away", profile(nowhere, away, "/away"))
    add_profile(folder, "perhaps", profile(nowhere, away, "/away", "optional = true"))
    settings = f'[attached]\nlook_every = "1s"\nendpoint = "{bucket.endpoint}"\n'
    with real_box(short_path, who=ada, settings=settings) as box:
        yield box


def inside(box: RealBox, who: Person, name: str, script: str) -> str:
    """What a shell in the notebook prints, as its person."""
    container = box.show(name)["container"]
    return podman("exec", "--user", f"{who.uid}:{who.gid}", container, "sh", "-c", script)


def attached(box: RealBox, url: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [one for one in box.ask("home", "attached") if one["url"] == url]
    assert len(found) == 1, found
    return found[0]


def test_what_a_notebook_writes_is_plain_objects_while_it_runs_and_the_other_way_round(box: RealBox, ada: Person, bucket: Bucket) -> None:
    mine, url = f"results/{ada.name}/", f"s3://{BUCKET}/results/{ada.name}"
    for number in range(30):
        bucket.put(f"{mine}run {number}/loss.csv", b"%d" % number)
    shown = box.ask("start", "main", "--profile", "results")
    assert "data" in shown["phases"]
    assert inside(box, ada, "main", "cat '/results/run 7/loss.csv'; stat -c %U /results").split() == [f"7{ada.name}"]
    inside(box, ada, "main", "mkdir /results/new && echo 42 > /results/new/answer && head -c 70000000 /dev/urandom > /results/large")
    inside(box, ada, "main", "rm '/results/run 0/loss.csv'")
    changed = {f"{mine}new/answer", f"{mine}large"}
    until(lambda: changed <= (there := set(bucket.keys())) and f"{mine}run 0/loss.csv" not in there, 40, bucket.keys)
    assert bucket.get(f"{mine}new/answer") == b"42\n"
    assert bucket.client.head_object(Bucket=BUCKET, Key=f"{mine}large")["ContentLength"] == 70_000_000
    view = until(lambda: (one := attached(box, url))["sentence"] == "in step" and one, 20)
    assert (view["places"], view["writable"], view["shared"], view["pending"]) == (["main:/results"], True, False, 0)
    # What is written in the last moment goes up with the stop.
    inside(box, ada, "main", "echo last > /results/last")
    box.ask("stop", "main")
    assert bucket.get(f"{mine}last") == b"last\n"
    # Another tool, while no notebook runs.
    bucket.put(f"{mine}new/answer", b"43")
    bucket.put(f"{mine}from outside", b"hello")
    bucket.delete(f"{mine}last")
    assert box.ask("start", "main")["state"] == "RUNNING"
    assert inside(box, ada, "main", "cat /results/new/answer '/results/from outside'") == "43hello"
    assert {line.removeprefix("/results/") for line in inside(box, ada, "main", "find /results -type f").splitlines()} == bucket.all(mine).keys()


def test_a_conflict_is_kept_twice(box: RealBox, ada: Person, bucket: Bucket) -> None:
    mine, url = f"results/{ada.name}/", f"s3://{BUCKET}/results/{ada.name}"
    bucket.put(f"{mine}paper", b"first")
    box.ask("start", "main", "--profile", "results")
    bucket.put(f"{mine}paper", b"theirs")
    inside(box, ada, "main", "echo mine > /results/paper")
    until(lambda: len(bucket.keys()) == 2, 30, lambda: bucket.all())
    (copy,) = set(bucket.all(mine)) - {"paper"}
    assert bucket.all(mine) == {"paper": b"theirs", copy: b"mine\n"}
    assert attached(box, url)["conflicts"] == [copy]
    assert "both versions are kept" in box.nbctl("home", "attached").stdout
    box.ask("stop", "main")
    box.ask("start", "main")
    assert inside(box, ada, "main", f"cat /results/paper /results/{copy}") == "theirsmine\n"
    inside(box, ada, "main", f"rm /results/{copy}")
    until(lambda: set(bucket.all(mine)) == {"paper"}, 30)
    assert attached(box, url)["conflicts"] == []


def test_one_read_only_copy_is_everybodys(box: RealBox, ada: Person, bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"pictures/{number}.png", b"png")
    with account("nbdtest-uwe") as uwe:
        box.ask("start", "main", "--profile", "pictures")
        bucket.put("pictures/20.png", b"png")
        box.ask("start", "main", "--profile", "pictures", who=uwe)
        assert inside(box, ada, "main", "ls /pictures | wc -l; cat /pictures/20.png") == "21\npng"
        tried = "touch /pictures/new || true; rm -f /pictures/0.png || true; cat /pictures/0.png; ls /pictures | wc -l"
        assert inside(box, ada, "main", tried) == "png21\n"
        assert [one["shared"] for one in box.ask("home", "attached", who=uwe)] == [True]
        (copy,) = (box.folder / "state/attached/shared").iterdir()
        assert {path.owner() for path in (copy, *copy.iterdir())} == {"nobody"}
        box.ask("stop", "main", who=uwe)
        box.ask("rm", "main", "--yes", who=uwe)


def test_a_persons_own_bucket_with_their_own_keys(box: RealBox, ada: Person, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("own/a", b"hers")
    keys = ada.home / "keys.toml"
    keys.write_text('access_key_id = "HERKEY"\nsecret_access_key = "her-very-secret"\n')
    keys.chmod(0o644)
    wish = ("--attach", f"s3://{BUCKET}/own:/own:rw", "--attach-keys", str(keys))
    box.ask("start", "main", *wish)
    assert inside(box, ada, "main", "cat /own/a; echo back > /own/b") == "hers"
    until(lambda: "own/b" in bucket.all(), 30)
    told = podman("inspect", box.show()["container"]) + box.output
    assert "own" in told
    assert "her-very-secret" not in told
    files = [path for path in box.folder.rglob("*") if path.is_file() and b"her-very-secret" in path.read_bytes()]
    assert [path.parent.name for path in files] == ["keys"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    box.ask("stop", "main")
    # It holds for later starts, without saying it again, until it is taken back.
    box.ask("start", "main")
    assert inside(box, ada, "main", "cat /own/b") == "back\n"
    box.ask("stop", "main")
    box.ask("start", "main", "--attach", "none")
    assert box.show()["attach"] == []
    (view,) = box.ask("home", "attached")
    assert box.ask("home", "attached", "--forget", view["id"]) == []
    assert not list((box.folder / "state/attached/people" / ada.name).iterdir())
    assert sorted(bucket.all("own/")) == ["a", "b"]


NOT_TO_BE_NAMED = (
    ("s3://lab/x:/data", 'endpoint = "http://169.254.169.254"', "bad_option"),
    ("s3://lab/x:/data", 'region = "x.evil.example/"', "bad_option"),
    ("az://lab/x:/data", 'account_name = "evil.example/#"', "bad_option"),
    ("gs://lab/x:/data", 'service_account_key = "{}"', "bad_option"),
    ("http://169.254.169.254/x:/data", "", "bad_attachment"),
    ("file:///etc:/data", "", "bad_attachment"),
    ("s3://lab/../other:/data", "", "bad_attachment"),
    ("s3://lab/x:/etc/nbd", "", "bad_attachment"),
    ("s3://lab/x:/home/nbdtest-una/data", "", "bad_attachment"),
    ("s3://lab/x:/", "", "bad_attachment"),
    ("s3://lab/x:/data/../etc", "", "bad_attachment"),
)
"""What is attached, the keys, and the code of the refusal."""


def test_what_a_person_may_not_name(box: RealBox, ada: Person) -> None:
    file = ada.home / "keys.toml"
    file.touch(0o644)
    for attach, keys, code in NOT_TO_BE_NAMED:
        file.write_text(keys)
        assert box.refused("start", "main", "--attach", attach, *(("--attach-keys", str(file)) if keys else ()))[1] == code, attach
    assert box.ask("ls") == []


def test_without_keys_only_what_is_public_is_read(box: RealBox, ada: Person, bucket: Bucket) -> None:
    bucket.put("own/a", b"public")
    said = box.refused("start", "main", "--attach", f"s3://{BUCKET}/own:/own")
    assert said[1] == "data_unfit"
    assert "--attach-keys" in said[3]
    what = [f"arn:aws:s3:::{BUCKET}/*", f"arn:aws:s3:::{BUCKET}"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": what}
    bucket.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    bucket.client.put_object_acl(Bucket=BUCKET, Key="own/a", ACL="public-read")
    bucket.client.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
    box.ask("start", "main", "--attach", f"s3://{BUCKET}/own:/own")
    assert inside(box, ada, "main", "cat /own/a") == "public"


def test_a_store_that_is_away_is_said_and_a_profile_may_start_without(box: RealBox, ada: Person) -> None:
    said = box.refused("start", "main", "--profile", "away")
    assert said[1] == "data_away"
    assert f"s3://{BUCKET}/away" in said[2]
    assert box.show()["state"] == "ERROR"
    box.ask("start", "main", "--profile", "perhaps")
    assert inside(box, ada, "main", "ls -A /away") == ""
    assert attached(box, f"s3://{BUCKET}/away")["trouble"]


def test_what_a_killed_sync_did_not_bring_up_goes_up_when_it_is_back(box: RealBox, ada: Person, bucket: Bucket) -> None:
    mine = f"results/{ada.name}/"
    bucket.put(f"{mine}a", b"1")
    box.ask("start", "main", "--profile", "results")
    for number in range(3):
        inside(box, ada, "main", f"for i in $(seq 200); do echo {number} > /results/{number}-$i; done")
        box.kill_9("sync")
    until(lambda: len(bucket.keys(mine)) == 601, 60, lambda: (len(bucket.keys(mine)), box.output[-3000:]))
    assert not [key for key in bucket.keys(mine) if "conflict" in key]
    inside(box, ada, "main", "echo late > /results/late")
    box.program("sync").kill()
    box.ask("stop", "main")
    until(lambda: f"{mine}late" in bucket.keys(mine), 60, lambda: box.output[-3000:])


def test_people_see_their_own_only(box: RealBox, ada: Person, bucket: Bucket) -> None:
    box.ask("start", "main", "--profile", "results")
    inside(box, ada, "main", "echo secret > /results/secret")
    with account("nbdtest-uwe") as uwe:
        assert box.ask("home", "attached", who=uwe) == []
        (view,) = box.ask("home", "attached")
        for what in ("--confirm", "--forget"):
            assert box.refused("home", "attached", what, view["id"], who=uwe)[1] == "not_found"
        seen = subprocess.run(["ls", f"{box.folder}/state/attached"], user=uwe.uid, group=uwe.gid, capture_output=True, check=False)
        assert seen.returncode != 0
        box.ask("start", "main", "--profile", "results", who=uwe)
        assert podman("exec", "--user", f"{uwe.uid}", box.ask("show", "main", who=uwe)["container"], "ls", "-A", "/results") == ""
        box.ask("rm", "main", "--yes", who=uwe)
