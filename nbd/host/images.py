"""Podman's images by its command line: it prints progress, which its API does not do in one shape. Implements `ImageStore`.

What runs here can take minutes and be given up at any line; then nothing of it stays: no process, no half-made container, no scratch folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ..editors import Editor
from ..errors import NbdError, NotFound, Unreachable
from ..messages import CheckReport
from ..notebooks.image import Base, ImageFacts, Said, Stage, Step, StepFailed
from ..notebooks.image_plan import BASE, Box, Order, mirrors_in, packages_in, plan
from . import commands, followed
from .image_trial import Trial

CLIENT_SETTINGS = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/pip/pip.conf")
STEP_SECONDS = 1800.0
ASK_SECONDS = 30.0


class PodmanImages:
    """`folder` holds one folder a recipe (images/base, images/jupyter); `editors` say how to try an image."""

    def __init__(self, folder: Path, prefix: str, editors: Mapping[str, Editor]) -> None:
        self._folder = folder
        self._prefix = prefix
        self._editors = editors

    async def list(self) -> Sequence[ImageFacts]:
        rows = json.loads(await asked("images", "--format", "json") or "[]")
        facts = [facts_of(row, name) for row in rows for name in row.get("Names") or ()]
        return tuple(sorted(facts, key=lambda fact: fact.reference))

    async def check(self, reference: str) -> CheckReport:
        for fact in await self.list():
            if fact.reference == reference:
                return await Trial(fact, self._editors).report()
        raise NotFound(f"there is no image {reference} here", hint="nbctl image ls", code="image_missing")

    async def pull(self, reference: str) -> AsyncGenerator[Said, None]:
        # After "--", so that no reference is ever an option.
        step = Step(Stage.PULL, reference, ("podman", "pull", "--", reference))
        async with aclosing(said(step)) as told:
            async for line in told:
                yield line

    async def build(self, name: str, base: Base) -> AsyncGenerator[Said, None]:
        present = {fact.reference: fact.id for fact in await self.list()}
        order = Order(name, base, self.recipes(), f"{self._prefix}{BASE}:latest" in present, self._packages())
        scratch = Path(tempfile.mkdtemp(prefix="nbd-image-", dir="/var/tmp"))
        try:
            steps = plan(order, box(), folder=self._folder, scratch=scratch, prefix=self._prefix)
            async with aclosing(all_said(steps, scratch)) as told:
                async for line in told:
                    yield line
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        await self._forget_replaced(present)

    def recipes(self) -> frozenset[str]:
        """The names that `build` knows."""
        return frozenset(file.parent.name for file in self._folder.glob("*/Containerfile"))

    def _packages(self) -> tuple[str, ...]:
        return packages_in((self._folder / BASE / "packages.txt").read_text())

    async def _forget_replaced(self, before: Mapping[str, str]) -> None:
        """Remove the images whose names went to what was built now. One that a container still uses stays."""
        now = {fact.reference: fact.id for fact in await self.list()}
        replaced = {image for name, image in before.items() if name.startswith(self._prefix) and now.get(name) != image} - set(now.values())
        if replaced:
            await commands.run(("podman", "rmi", "--ignore", *replaced), ASK_SECONDS)


async def all_said(steps: Sequence[Step], scratch: Path) -> AsyncGenerator[Said, None]:
    for step in steps:
        async with aclosing(said(step, scratch)) as told:
            async for line in told:
                yield line


async def said(step: Step, scratch: Path | None = None) -> AsyncGenerator[Said, None]:
    async with whole_or_nothing(step), aclosing(followed.lines(step.argv, within=STEP_SECONDS, scratch=scratch)) as told:
        async for line in told:
            if isinstance(line, str):
                yield Said(step, line)
            elif line.exit_code != 0:
                raise StepFailed(step, line.exit_code, line.tail)


@asynccontextmanager
async def whole_or_nothing(step: Step) -> AsyncIterator[None]:
    """What a build is made in goes when it does not come to its end."""
    known = await working_containers() if step.stage is Stage.BUILD else frozenset()
    try:
        yield
    except BaseException:
        if step.stage is Stage.BUILD:
            await remove_working_containers(known)
        raise


async def working_containers() -> frozenset[str]:
    """What builds are made in. Podman shows them only with --external, in a state of their own."""
    rows = json.loads(await asked("ps", "--all", "--external", "--format", "json") or "[]")
    return frozenset(row["Id"] for row in rows if str(row.get("State", "")).lower() == "storage")


async def remove_working_containers(known: frozenset[str]) -> None:
    """A build that was killed cannot remove its own, and nothing tells whose one is: while somebody else builds, all are left."""
    if somebody_builds():
        return
    with suppress(NbdError):
        for container in await working_containers() - known:
            await commands.run(("podman", "rm", "--force", container), ASK_SECONDS)


def somebody_builds() -> bool:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if words[0].endswith((b"podman", b"buildah")) and {b"build", b"bud"} & set(words[1:4]):
                return True
    return False


async def asked(*words: str) -> str:
    """Podman's answer. Raises Unreachable when it has none."""
    answer = await commands.run(("podman", *words), ASK_SECONDS)
    if answer.code != 0:
        raise Unreachable(f"podman {words[0]} failed: {answer.err.strip()[-200:]}", hint="try: podman info")
    return answer.out


def facts_of(row: Mapping[str, Any], name: str) -> ImageFacts:
    return ImageFacts(name, str(row["Id"]), int(row.get("Size", 0)), float(row.get("Created", 0)), dict(row.get("Labels") or {}))


def box() -> Box:
    files = (*sorted(Path("/etc/apt/sources.list.d").glob("*")), Path("/etc/apt/sources.list"))
    texts = [file.read_text(errors="replace") for file in files if file.is_file()]
    return Box(
        tools=frozenset(tool for tool in ("mmdebstrap", "debootstrap") if shutil.which(tool)),
        mounts=tuple(path for path in CLIENT_SETTINGS if Path(path).exists()),
        mirrors=mirrors_in(texts),
        root=os.geteuid() == 0,
    )
