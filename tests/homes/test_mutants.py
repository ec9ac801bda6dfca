"""Whether the model would notice: nbd is broken on purpose, in one place at a time, and random lives have to find each.

Not here, because nobody could notice: an inode or a mode that is not asked (its ctime changed with it), a tick that is not waited for (Linux 6.13
gives every change a ctime of its own on ext4, xfs, btrfs and tmpfs).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from .test_model import ROOT

OPERATIONS, LIVES = 700, 9


class Mutant(NamedTuple):
    file: str
    good: str
    bad: str


MUTANTS = {
    "ctime is not asked": Mutant("homes/snapshots/diff.py", "entry.ctime == seen.ctime and ", ""),
    "an unreadable folder is not looked at again": Mutant("homes/snapshots/walk.py", "                self.again.add(above)\n", ""),
    "what was dirty below an unreadable folder is forgotten": Mutant("homes/snapshots/walk.py", " and not known.flags & Flag.STALE", ""),
    "a name of another kind is taken for the folder it was": Mutant(
        "homes/snapshots/walk.py", "before if before is not None and before.kind == Kind.FOLDER else None", "before"
    ),
    "what a person has not confirmed is recorded as deleted": Mutant(
        "homes/snapshots/walk.py", "if self.withhold and not frame.todo.guessed:", "if False:"
    ),
    "dirty folders below are passed by": Mutant("homes/snapshots/walk.py", "for name, dirty in below.items():", "for name, dirty in ():"),
    "other names of a changed file are not asked for": Mutant("homes/snapshots/contents.py", "self.relinked |= seen.nlink > 1", "pass"),
    "a hole at the end of a large file is forgotten": Mutant(
        "homes/snapshots/contents.py", "extents if at >= size else [*extents, Extent(size - at, NO_ID)]", "extents"
    ),
    "hard links come back as copies": Mutant("homes/snapshots/restorer.py", "if entry.flags & Flag.LINKED:", "if False:"),
    "access lists are not kept": Mutant("host/hometree.py", '("user.", "system.posix_acl_")', '("user.",)'),
    "holes are kept as zeros": Mutant("host/hometree.py", "if status.st_blocks * 512 >= size:", "if True:"),
    "modes do not come back": Mutant("host/homewriter.py", "    os.fchmod(descriptor, entry.mode & allowed)\n", ""),
    "a failed link is left aside": Mutant(
        "host/homewriter.py",
        "    finally:\n        with contextlib.suppress(FileNotFoundError):\n            os.unlink(temporary",
        "    finally:\n        if False:\n            os.unlink(temporary",
    ),
    "the pointer moves before the packs are there": Mutant(
        "homes/snapshots/snapshotter.py", "places = await packer.flush()", "places = packer.places"
    ),
    "named snapshots are dropped like others": Mutant("homes/snapshots/retention.py", "elif listed.name not in PASSING:", "elif False:"),
    "what is still needed counts as dead": Mutant(
        "homes/snapshots/pruner.py", "if extent.id != NO_ID:", "if extent.id != NO_ID and extent.id[0] % 16:"
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_model_finds(tmp_path: Path, name: str) -> None:
    mutant = MUTANTS[name]
    shutil.copytree(ROOT / "nbd", tmp_path / "nbd", ignore=shutil.ignore_patterns("__pycache__", "static"))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    path = tmp_path / "nbd" / mutant.file
    text = path.read_text()
    assert text.count(mutant.good) == 1, "the code has changed: break it in another way"
    path.write_text(text.replace(mutant.good, mutant.bad))
    argv = [sys.executable, "-m", "tests.homes.test_model", str(OPERATIONS), *map(str, range(LIVES))]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "nobody noticed"
    assert "in the life of seed" in done.stderr
