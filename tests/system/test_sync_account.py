"""`nbd dev` on a box that has an account for sync: core and sync are two uids, and a home is kept and comes back all the same."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nbd.host.privileges import READ_ANY, parse

from .real_box import account, real_box, until

pytestmark = pytest.mark.real


def test_core_and_sync_of_nbd_dev_are_two_accounts(short_path: Path) -> None:
    with account("nbdtest-kay") as keeper, account("nbdtest-ivy") as ivy:
        ivy.home.chmod(0o700)
        with real_box(short_path, who=ivy, settings=f'[homes]\nuser = "{keeper.name}"\n') as box:
            sync = box.program("sync")
            until(lambda: set(sync.uids()) == {keeper.uid})
            rights = parse(Path(f"/proc/{sync.pid}/status").read_text())
            assert (rights.permitted, rights.effective, rights.bounding, rights.too_much) == (READ_ANY, READ_ANY, READ_ANY, False)
            box.ask("start")
            paper = ivy.home / "paper.txt"
            paper.write_text("forty-two\n")
            os.chown(paper, ivy.uid, ivy.gid)
            until(lambda: "paper.txt" in [one["name"] for one in (box.ask("home", "snapshots") and box.ask("home", "ls", "latest"))], 20)
            assert box.ask("home", "status")["source"] == "fanotify"
            paper.unlink()
            back = Path(box.ask("home", "restore", "paper.txt")["to"]) / "paper.txt"
            assert (back.read_text(), back.stat().st_uid) == ("forty-two\n", ivy.uid)
            box.ask("stop", "main")
            assert "stop" in [one["event"] for one in box.ask("home", "snapshots")]
            for folder in (box.folder / "state/sync", box.folder / "run/sync"):
                assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {keeper.uid}
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700
