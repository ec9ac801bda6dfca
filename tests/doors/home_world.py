"""A home for the pages' tests: some snapshots, a folder with names that nobody should have, a notebook in two versions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from nbd.messages import (
    DifferenceView,
    EntryView,
    ExcludedView,
    FolderUseView,
    GoneView,
    HomeView,
    LossView,
    RestoreView,
    RoomView,
    SnapshotView,
    TextView,
    Unkept,
    UsageView,
    VersionView,
)
from tests.doors.world import World

GIB = 1 << 30
LATE, MIDDLE, EARLY = ("a" * 64, "b" * 64, "c" * 64)
ODD = "\\xff\n\x1b[2J"
ODD_QUOTED = "%FF%0A%1B%5B2J"
NASTY = ("<script>alert(1)<", "\u202etxt.exe", "w" * 255, "a'b\"c&d", "100%25", "{{7*7}}")


def notebook(word: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "execution_count": 1, "source": ["<b>x</b> = 1\n", f"print({word})"]}]})


def put_home(w: World, **changes: object) -> None:
    """Ada's home as it is on a good day; `changes` are of what the fake core answers."""
    now = time.time()
    w.core.home = HomeView("/home/ada", watched=True, protected=now - 2, store="/srv/store", sentence="protected", hint="")
    snapshots = (SnapshotView(LATE, now - 60, "save"), SnapshotView(MIDDLE, now - 90_000, "stop", "main"), SnapshotView(EARLY, now - 9e6, "save"))
    by_id = {one.id: one for one in snapshots} | {"latest": snapshots[0]}

    def text(query: Mapping[str, str]) -> TextView:
        words = {"notes.md": f"</pre><script>alert(1)</script>\n{query['snapshot'][0]}\n"}
        name = query["path"].rpartition("/")[2]
        said = words.get(name, notebook(query["snapshot"][0]) if name.endswith(".ipynb") else "")
        return TextView(query["path"], by_id[query["snapshot"]], len(said), now, said, why_not="" if said else "it is no text")

    room = RoomView("fine", "disk", 40 * GIB, 500 * GIB, 210 * GIB, "the disk of your home has 210 GiB of 500 GiB left")
    w.core.kept.answers = {
        "snapshots": snapshots,
        "ls": (
            EntryView("work", "folder", 0o700, 3, now), EntryView("paper.ipynb", "file", 0o600, 5 << 10, now),
            EntryView("to", "link", 0o777, 0, now, "/etc/<passwd>"), EntryView("sock", "skipped", 0o600, 0, now, "belongs to uid 0"),
            EntryView(ODD, "file", 0o600, 1, now, quoted=ODD_QUOTED), *(EntryView(name, "file", 0o600, 1, now) for name in NASTY),
        ),
        "text": text,
        "versions": (VersionView(snapshots[0], snapshots[0], "file", 9, now), VersionView(snapshots[2], snapshots[1], "file", 5, now)),
        "diff": (
            DifferenceView("changed", "paper.ipynb", "", "file", 4, 5), DifferenceView("deleted", ODD, "", "file", 4, None, ODD_QUOTED),
            DifferenceView("renamed", "new", "old<", "file", 4, 4), DifferenceView("added", "fresh", "", "folder", None, 2),
            DifferenceView("changed", "only-its-time", "", "folder", 2, 2), DifferenceView("changed", ".", "", "folder", 2, 2),
        ),
        "usage": UsageView(
            "/home/ada", now - 60, measuring=False, bytes=40 * GIB, files=1000, excluded_bytes=12 * GIB, room=room, stored=9 * GIB, snapshots=3,
            folders=(FolderUseView("data", 20 * GIB, 9, 0), FolderUseView("data/<raw>", 9 * GIB, 5, 0)),
            excluded=(ExcludedView(".cache/huggingface", "/.cache/", 12 * GIB, 5),), cost="about 0.19 USD a month",
        ),
        "losses": LossView(4, (GoneView("data<", "folder", 3), GoneView(ODD, "file", 1))),
        "confirm": w.core.home,
    } | changes  # fmt: skip
    step = RestoreView(False, "/home/ada/restored-x", snapshots[0], 3, GIB, total=10)  # noqa: FBT003
    done = RestoreView(True, "/home/ada/restored-x", snapshots[0], 9, 2 * GIB, 1, (Unkept("so<ck", "a socket"),), total=10)  # noqa: FBT003
    w.core.kept.steps = [step, done]
