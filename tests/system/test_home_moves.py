"""One person, two boxes, one store: what was worked on the one is there on the other before the notebook runs, and back again."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.fakes.object_servers import BUCKET, s3
from tests.homes.world import look

from .real_box import Person, RealBox, account, real_box, until

pytestmark = pytest.mark.real


@pytest.fixture
def ada() -> Iterator[Person]:
    with account("nbdtest-mia") as person:
        yield person


def settings(folder: Path, store: str, more: str = "") -> str:
    """Two boxes that share a store share its key."""
    key = folder / "master.key"
    if not key.exists():
        key.write_text(os.urandom(32).hex() + "\n")
        key.chmod(0o600)
    return f'[homes]\nstore = "{store}"\nkey_file = "{key}"\n{more}'


@contextmanager
def two_boxes(folder: Path, ada: Person, store: str, more: str = "") -> Iterator[tuple[RealBox, RealBox]]:
    text = settings(folder, store, more)
    for name in ("a", "b"):
        (folder / name).mkdir()
    with real_box(folder / "a", who=ada, settings=text) as one, real_box(folder / "b", who=ada, settings=text) as two:
        yield one, two


def as_ada(ada: Person, script: str) -> None:
    """What she does in a terminal."""
    subprocess.run(["/bin/bash", "-euc", script], cwd=ada.home, user=ada.uid, group=ada.gid, extra_groups=[], check=True, timeout=60)


WORK = r"""
mkdir -p papers/2026 'odd names'
echo forty-two > papers/answer.txt; chmod 0640 papers/answer.txt
printf 'x' > $'odd names/new\nline'; printf 'y' > $'odd names/no utf-8 \xff'
ln -s ../papers/answer.txt 'odd names/link'; ln -s nowhere dangling
ln papers/answer.txt papers/hard
truncate -s 64M sparse; printf end >> sparse
head -c 3000000 /dev/urandom > data.bin
mkfifo pipe
python3 - <<'P'
import os
os.setxattr("papers/answer.txt", "user.author", b"ada")
acl = "02000000 01000700ffffffff 0200070001000000 04000500ffffffff 10000700ffffffff 20000500ffffffff"
os.setxattr("papers", "system.posix_acl_access", bytes.fromhex(acl))
os.utime("papers/answer.txt", ns=(1, 946684800123456789))
os.utime("papers/2026", ns=(1, 946684800987654321))
P
chmod 1770 'odd names'
"""


def wipe(home: Path) -> None:
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def another_disk(ada: Person) -> Iterator[None]:
    """Both boxes have one /home here: for the block the home is an empty one, and afterwards it is the first box's again, as that left it."""
    aside = ada.home.with_name(f"{ada.name}-aside")
    ada.home.rename(aside)
    ada.home.mkdir(mode=0o700)
    os.chown(ada.home, ada.uid, ada.gid)
    try:
        yield
    finally:
        shutil.rmtree(ada.home)
        aside.rename(ada.home)


Tree = dict[bytes, tuple[object, ...]]


def there_and_back(one: RealBox, two: RealBox, ada: Person) -> None:
    one.ask("start")
    as_ada(ada, WORK)
    one.ask("stop", "main")
    before, sparse = hers(look(ada.home)), (ada.home / "sparse").stat().st_ino
    with another_disk(ada):
        assert two.ask("start")["state"] == "RUNNING"
        assert hers(look(ada.home)) == before
        assert (ada.home / "sparse").stat().st_blocks * 512 < 1 << 20
        as_ada(ada, "echo of the other box >> papers/answer.txt; rm data.bin; mkdir new; echo new > new/file")
        two.ask("stop", "main")
        theirs = hers(look(ada.home))
    assert one.ask("start")["state"] == "RUNNING"
    assert hers(look(ada.home)) == theirs
    assert (ada.home / "sparse").stat().st_ino == sparse, "what is the same on both boxes is not written again"
    assert (ada.home / "papers/answer.txt").read_text() == "forty-two\nof the other box\n"
    assert not (ada.home / "data.bin").exists()
    one.ask("stop", "main")
    assert one.ask("home", "verify")["good"]


def hers(tree: Tree) -> Tree:
    """Without the home itself and what an editor writes for itself as it starts."""
    return {path: facts for path, facts in tree.items() if not path.startswith(b".")}


def test_there_and_back_over_a_folder(short_path: Path, ada: Person) -> None:
    with two_boxes(short_path, ada, str(short_path / "store")) as (one, two):
        there_and_back(one, two, ada)


def test_there_and_back_over_a_bucket(short_path: Path, ada: Person) -> None:
    with s3() as bucket:
        secrets = short_path / "secrets.toml"
        secrets.write_text("".join(f'{key} = "{value}"\n' for key, value in bucket.secrets.items()))
        secrets.chmod(0o600)
        with two_boxes(short_path, ada, f"s3://{BUCKET}/lab", f'store_secrets = "{secrets}"\n') as (one, two):
            there_and_back(one, two, ada)


def test_who_worked_on_both_is_told_and_keeps_both(short_path: Path, ada: Person) -> None:
    with two_boxes(short_path, ada, str(short_path / "store")) as (one, two):
        one.ask("start")
        as_ada(ada, "echo first > paper")
        one.ask("stop", "main")
        # The second box has a home of its own, in which she worked before nbd did.
        as_ada(ada, "echo of the second > paper; echo mine > mine")
        two.ask("start")
        assert (ada.home / "paper").read_text() == "of the second\n"
        status = two.ask("home", "status")
        assert any("another box has worked in this home" in alarm for alarm in status["alarms"])
        two.ask("stop", "main")
        other = next(snapshot for snapshot in two.ask("home", "snapshots") if snapshot["name"] == "main run 1" and snapshot["event"] == "stop")
        assert other["id"]
        said = two.nbctl("home", "status")
        assert "nbctl home diff" in said.stdout


def hands(ada: Person) -> psutil.Process | None:
    """The child that writes into her home, as her."""
    for process in psutil.process_iter(["cmdline", "uids"]):
        words, uids = process.info["cmdline"] or [], process.info["uids"]
        if "nbd.host.restore_child" in words and str(ada.home) in words and uids and uids.real == ada.uid:
            return process
    return None


def test_a_kill_of_each_program_in_the_middle_is_only_a_delay(short_path: Path, ada: Person) -> None:
    """The bandwidth is held back, so that there is a middle."""
    with two_boxes(short_path, ada, str(short_path / "store"), 'bandwidth = "6MiB"\n') as (one, two):
        one.ask("start")
        as_ada(ada, "mkdir many; for n in $(seq 3000); do echo $n > many/$n; done; head -c 30000000 /dev/urandom > data.bin")
        one.ask("stop", "main")
        before = look(ada.home / "many")
        wipe(ada.home)
        starting = threading.Thread(target=two.nbctl, args=("start",))
        starting.start()
        try:
            until(lambda: (ada.home / "many").exists(), 20, lambda: two.output[-4000:])
            until(lambda: hands(ada), 20, lambda: two.output[-4000:]).kill()
            for victim in ("sync", "core", "sync"):
                until(lambda: hands(ada), 20, lambda: two.output[-4000:])
                two.kill_9(victim)
        finally:
            starting.join()
        two.reaches("main", "RUNNING", seconds=60)
        assert "is brought to its newest snapshot: it was brought back in part" in two.output
        assert look(ada.home / "many") == before
        assert (ada.home / "data.bin").stat().st_size == 30_000_000
        two.ask("stop", "main")
        assert two.ask("home", "status")["alarms"] == []
        newest = two.ask("home", "snapshots")[0]["id"]
        assert len(two.ask("home", "ls", newest, "many")) == 3000


def test_a_store_that_is_away_keeps_an_empty_home_from_starting_unless_she_says_so(short_path: Path, ada: Person) -> None:
    with two_boxes(short_path, ada, str(short_path / "store")) as (one, two):
        one.ask("start")
        as_ada(ada, "echo first > paper")
        one.ask("stop", "main")
        wipe(ada.home)
        store = short_path / "store"
        store.rename(store.with_name("away"))
        store.write_text("not a folder")
        try:
            code, kind, _, hint = two.refused("start")
            assert (code, kind) == (1, "home_not_back")
            assert "--empty-home" in hint
            assert two.ask("show", "main")["state"] == "ERROR"
            assert two.ask("start", "--empty-home")["state"] == "RUNNING"
            as_ada(ada, "echo new > new")
        finally:
            store.unlink()
            store.with_name("away").rename(store)
        two.ask("stop", "main")
        until(lambda: two.ask("home", "status")["pending"] == [], 60, lambda: two.output[-4000:])
        names = [[entry["name"] for entry in two.ask("home", "ls", snapshot["id"])] for snapshot in two.ask("home", "snapshots")]
        assert "new" in names[0]
        assert "paper" not in names[0]
        assert any("paper" in some for some in names)
