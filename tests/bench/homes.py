"""Homes against restic, borg, rclone and `aws s3 sync`, on the same homes in one run: `python -m tests.bench.homes`.

Three homes: the one of the budgets (20,000 files and one of 1 GiB) and one of many files, both into folders of this disk, and a small one into S3
(moto: its own speed is in all its rows). On each the same things happen, one after the other, and after each of them every tool has its turn.
Seconds are of the wall clock and include the start of a program; nbd's runs already, as it does on a box. rclone and aws mirror, and keep no
history. `--million N` instead measures a look at a home of N files in which nothing changed. Adds its tables to RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from . import backups
from .backups import Aws, Borg, Bucket, Cost, Nbd, Rclone, Restic, Tool
from .report import free_port, report, table, verdict

MIB = 1 << 20
VERBS = ("first", "unchanged", "one file saved", "1 KiB in the large file", "its folder renamed", "5 % deleted", "restore one file", "restore all")
Costs = dict[tuple[str, str], Cost]
LIMITS = {"first": 0.8, "restore all": 0.8, "1 KiB in the large file": 0.4}
"""nbd's seconds, as a part of restic's, on the home of the budgets."""
MANY, SLOW = 100_000, {("borg", "restore all"), ("rclone", "restore all")}
"""Left out of a home of so many files: minutes each, and known from the other one."""


class Home:
    def __init__(self, folder: Path, files: int, mebibytes: int) -> None:
        self.path, self.files, self.large = folder / "home", files, mebibytes
        for number in range(files):
            where = self.path / f"d{number % 97}/e{number % 7 if files < 50_000 else number // 97 % 100}"
            if number < 97 * 100:
                where.mkdir(parents=True, exist_ok=True)
            (where / f"f{number}").write_bytes(os.urandom(2500) + b"text " * 500)
        (self.path / "large").mkdir(parents=True)
        with (self.path / "large/big").open("wb") as file:
            for _ in range(mebibytes):
                file.write(os.urandom(MIB))
        os.sync()

    def change(self, verb: str) -> None:
        big = self.path / ("renamed/big" if (self.path / "renamed").exists() else "large/big")
        if verb == "one file saved":
            (self.path / "d3/e3/saved").write_bytes(os.urandom(5000))
        elif verb == "1 KiB in the large file":
            with big.open("r+b") as file:
                file.seek((self.large // 2) * MIB)
                file.write(os.urandom(1024))
        elif verb == "its folder renamed":
            (self.path / "large").rename(self.path / "renamed")
        elif verb == "5 % deleted":
            for path in sorted(self.path.glob("d1*/e*/f*"))[: self.files // 20]:
                path.unlink()


def measured(home: Home, tools: Sequence[Tool], folder: Path, bucket: Bucket | None) -> Costs:
    costs: Costs = {}
    sizes = {tool.name: 0 for tool in tools}
    for verb in VERBS:
        home.change(verb)
        os.sync()
        for tool in tools:
            if home.files >= MANY and (tool.name, verb) in SLOW:
                continue
            requests = bucket.requests() if bucket else 0
            cost = done(tool, verb, folder / f"back {tool.name} {verb}")
            if bucket:
                cost.requests = bucket.requests() - requests
            size = tool.size()
            cost.stored, sizes[tool.name] = size - sizes[tool.name], size
            costs[tool.name, verb] = cost
            print(f"{verb:24} {tool.name:12} {cost.seconds:8.3f} s", flush=True)
    return costs


def done(tool: Tool, verb: str, to: Path) -> Cost:
    if not verb.startswith("restore"):
        return tool.backup()
    cost = tool.restore("d3/e3/saved" if verb == "restore one file" else "", to)
    shutil.rmtree(to)
    return cost


def rows(costs: Costs, tools: Sequence[Tool]) -> list[list[str]]:
    found = []
    for verb in VERBS:
        for tool in tools:
            if (tool.name, verb) not in costs:
                continue
            cost, mine = costs[tool.name, verb], costs["nbd", verb]
            ratio = "" if tool.name == "nbd" else f"{mine.seconds / cost.seconds:.2f}"
            requests = "" if cost.requests is None else f"{cost.requests:,}"
            stored = f"{cost.stored / 1024:,.0f}" if not verb.startswith("restore") else ""
            found.append([verb, tool.name, f"{cost.seconds:.2f}", ratio, f"{cost.cpu:.2f}", f"{cost.rss / MIB:.0f}", stored, requests])
    return found


def shown(costs: Costs, tools: Sequence[Tool]) -> str:
    return table(["", "tool", "s", "nbd : this", "CPU s", "RSS MiB", "stored KiB", "requests"], rows(costs, tools))


def budgets(costs: Costs, saved: Cost, home: Home) -> str:
    found = []
    for verb, limit in LIMITS.items():
        ratio = costs["nbd", verb].seconds / costs["restic", verb].seconds
        found.append([f"{verb}: nbd : restic", f"{ratio:.2f}", f"<= {limit}", verdict(ratio, limit)])
    stored = costs["nbd", "1 KiB in the large file"].stored / MIB
    found.append([f"1 KiB changed in {home.large} MiB, MiB stored", f"{stored:.2f}", "<= 1.5", verdict(stored, 1.5)])
    found.append(["5 KB saved, told of and durable, s", f"{saved.seconds:.3f}", "<= 0.3", verdict(saved.seconds, 0.3)])
    found.append(["requests for that", str(saved.requests), "<= 4", verdict(saved.requests or 0, 4)])
    return table(["budget", "value", "goal", ""], found)


def local(asked: argparse.Namespace, files: int, mebibytes: int) -> tuple[str, str]:
    with workplace() as folder:
        home = Home(folder, files, mebibytes)
        makers: dict[str, Callable[[], Tool]] = {
            "restic": lambda: Restic(home.path, folder, None), "borg": lambda: Borg(home.path, folder),
            "rclone": lambda: Rclone(home.path, folder, None),
        }  # fmt: skip
        with closing(Nbd(home.path, folder, None)) as nbd:
            tools: list[Tool] = [nbd, *(make() for name, make in makers.items() if name in asked.peers)]
            costs = measured(home, tools, folder, None)
            nbd.do("watch")
            saved = [nbd.do("save", path=str(home.path / f"d3/e{number}/again")) for number in range(5)]
        goals = budgets(costs, sorted(saved, key=lambda cost: cost.seconds)[2], home) if "restic" in asked.peers else ""
        return shown(costs, tools), goals


def s3(asked: argparse.Namespace) -> str:
    with workplace() as folder, ExitStack() as stack:
        home = Home(folder, asked.s3_files, asked.s3_mib)
        bucket = stack.enter_context(closing(Bucket(folder, free_port())))
        nbd = stack.enter_context(closing(Nbd(home.path, folder, bucket)))
        makers: dict[str, Callable[[], Tool]] = {
            "restic": lambda: Restic(home.path, folder, bucket), "rclone": lambda: Rclone(home.path, folder, bucket),
            "aws": lambda: Aws(home.path, bucket),
        }  # fmt: skip
        tools: list[Tool] = [nbd, *(make() for name, make in makers.items() if name in asked.peers)]
        return shown(measured(home, tools, folder, bucket), tools)


def million(files: int, folders: int) -> str:
    """The first look stores all; then one is made at which nothing changed, once warm and once after a restart."""
    found = []
    with workplace() as folder:
        home = folder / "home"
        for number in range(folders):
            where = home / f"a{number // 1000}/b{number // 20 % 50}/c{number}"
            where.mkdir(parents=True)
            for one in range(files // folders):
                (where / f"file-{one}.txt").write_bytes(b"file %d" % (number * files + one))
        os.sync()
        for start in ("", ", after a restart"):
            found += looks(home, folder, start)
    return table([f"{files:,} files in {folders:,} folders", "s", "<= 10", "CPU s", "RSS MB", "<= 300"], found)


def looks(home: Path, folder: Path, start: str) -> list[list[str]]:
    found = []
    with closing(Nbd(home, folder, None)) as nbd:
        for verb in (f"first look{start}", f"nothing changed{start}", f"again{start}"):
            cost = nbd.backup()
            print(verb, cost, flush=True)
            quick = "" if verb == "first look" else verdict(cost.seconds, 10.0)
            found.append([verb, f"{cost.seconds:.1f}", quick, f"{cost.cpu:.1f}", f"{cost.rss / 1e6:.0f}", verdict(cost.rss / 1e6, 300)])
    return found


@contextmanager
def workplace() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nbd-bench-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def options() -> argparse.Namespace:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--files", type=int, default=20_000)
    asked.add_argument("--mib", type=int, default=1024)
    asked.add_argument("--many", type=int, default=200_000, help="files of the second home")
    asked.add_argument("--s3-files", type=int, default=2_000)
    asked.add_argument("--s3-mib", type=int, default=64)
    asked.add_argument("--peers", default="restic,borg,rclone,aws", type=lambda text: text.split(","))
    asked.add_argument("--only", default="budget,many,s3", type=lambda text: text.split(","))
    asked.add_argument("--million", type=int, metavar="N")
    asked.add_argument("--folders", type=int, default=50_000, help="of that home")
    asked.add_argument("--note", default="", help="a sentence for RESULTS.md")
    asked.add_argument("--no-record", action="store_const", const=None, dest="note", help="print only")
    return asked.parse_args()


def parts(asked: argparse.Namespace) -> Iterator[str]:
    if "budget" in asked.only:
        costs, goals = local(asked, asked.files, asked.mib)
        yield f"{asked.files:,} files of 5 KB and one of {asked.mib} MiB, into a folder:\n\n{costs}"
        yield goals
    if "many" in asked.only:
        costs, _ = local(asked, asked.many, 16)
        yield f"{asked.many:,} files of 5 KB and one of 16 MiB, into a folder:\n\n{costs}"
    if "s3" in asked.only:
        yield f"{asked.s3_files:,} files of 5 KB and one of {asked.s3_mib} MiB, into S3 (moto):\n\n{s3(asked)}"


def main() -> None:
    asked = options()
    if asked.million:
        report("homes.py --million", asked.note, million(asked.million, asked.folders))
        return
    if lacking := backups.missing():
        raise SystemExit(f"{', '.join(lacking)}: not installed. packaging/dev/setup bench")
    if "s3" in asked.only and "aws" in asked.peers:
        backups.install()
    report("homes.py", asked.note, *parts(asked))


if __name__ == "__main__":
    main()
