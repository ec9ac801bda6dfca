"""Tries an image as a notebook: no network, read-only root, no capability, some person's uid. Whatever happens, its container goes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from .. import unixdoor
from ..editors import EDITOR_FOLDER, SOCKET_NAME, Editor
from ..errors import NbdError, Unreachable
from ..messages import CheckReport
from ..notebooks.image import EDITOR_LABEL, ImageFacts
from ..notebooks.image_trouble import end_of_trial, tool_problems, version_problems
from ..unixdoor import Place
from . import commands, followed, unixhttp

SOMEBODY = 64999
"""A uid that no image knows: it must work for every person."""
HOME = "/home/somebody"
READY_SECONDS = 30.0
ASK_SECONDS = 20.0
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.02
TOOLS = ("bash", "git", "gcc", "make", "python3")
VERSIONS = """
import json, platform, sys
from importlib import metadata
def version(name):
    if name == "python": return platform.python_version()
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return ""
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


class Trial:
    def __init__(self, image: ImageFacts, editors: Mapping[str, Editor]) -> None:
        self._image = image
        self._stated = image.labels.get(EDITOR_LABEL, "")
        self._editor = editors.get(self._stated)
        self._name = f"nbd-trial-{secrets.token_hex(6)}"
        self._log: list[str] = []
        self._exit_code: int | None = None

    async def report(self) -> CheckReport:
        reference = self._image.reference
        if self._editor is None:
            known = f"its label {EDITOR_LABEL} says {self._stated!r}" if self._stated else f"it has no label {EDITOR_LABEL}"
            return CheckReport(reference, (f"{reference} names no editor that nbd knows: {known}",))
        folder = Path(tempfile.mkdtemp(prefix="nbd-trial-"))
        editor = asyncio.create_task(self._run(self._editor, folder))
        try:
            return await self._observed(self._editor, editor, folder / "run" / SOCKET_NAME)
        finally:
            editor.cancel()
            with suppress(asyncio.CancelledError, NbdError):
                await editor
            await commands.run(("podman", "rm", "--force", "--ignore", "--time", "0", self._name), ASK_SECONDS)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _observed(self, editor: Editor, running: asyncio.Task[None], socket: Path) -> CheckReport:
        reference, began = self._image.reference, time.monotonic()
        while not await answers(socket, editor.ready_path):
            waited = time.monotonic() - began
            if running.done():
                running.result()
                return self._unfit(end_of_trial(reference, self._stated, self._exit_code or 0, self._log))
            if waited > READY_SECONDS:
                return self._unfit(f"the editor of {reference} runs but did not answer within {READY_SECONDS:g} s")
            await asyncio.sleep(POLL_SECONDS)
        ready = time.monotonic() - began
        stated = self._image.versions
        tools, versions = await asyncio.gather(self._tools(), self._versions(tuple(stated)))
        problems = (*tool_problems(tools), *version_problems(stated, versions))
        return CheckReport(reference, problems, ready, tools, versions, tuple(self._log) if problems else ())

    def _unfit(self, problem: str) -> CheckReport:
        return CheckReport(self._image.reference, (problem,), log=tuple(self._log))

    async def _run(self, editor: Editor, folder: Path) -> None:
        run, home = folder / "run", folder / "home"
        folder.chmod(0o755)
        for place in (run, home):
            place.mkdir()
            if os.geteuid() == 0:
                os.chown(place, SOMEBODY, SOMEBODY)
        argv = (*confined(self._name), *mounts(run, home), *env(editor), "--pull=never", self._image.id, *editor.command(HOME))
        async with aclosing(followed.lines(argv, within=READY_SECONDS + 2 * ASK_SECONDS)) as lines:
            async for line in lines:
                if isinstance(line, str):
                    self._log = [*self._log[-followed.TAIL :], line]
                else:
                    self._exit_code = line.exit_code

    async def _tools(self) -> dict[str, str]:
        said = await asyncio.gather(*(self._exec(tool, "--version") for tool in TOOLS))
        return dict(zip(TOOLS, (text.splitlines()[0] if text else "" for text in said), strict=True))

    async def _versions(self, names: Sequence[str]) -> dict[str, str]:
        found = json.loads(await self._exec("python3", "-c", VERSIONS, *names) or "{}")
        return {str(name): str(version) for name, version in found.items()}

    async def _exec(self, *argv: str) -> str:
        """What it prints in the container; empty when it is not there or fails."""
        answer = await commands.run(("podman", "exec", self._name, *argv), ASK_SECONDS)
        return answer.out.strip() if answer.code == 0 else ""


def confined(name: str) -> tuple[str, ...]:
    user = f"{SOMEBODY}:{SOMEBODY}" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    rights = ("--cap-drop", "all", "--security-opt", "no-new-privileges", "--user", user)
    return ("podman", "run", "--rm", "--name", name, "--network", "none", "--read-only", *rights, *limits())


def limits() -> tuple[str, ...]:
    """What this box may give: asking for more than its own hard limits fails where nbd itself is confined."""
    files, processes = resource.getrlimit(resource.RLIMIT_NOFILE)[1], resource.getrlimit(resource.RLIMIT_NPROC)[1]
    files, processes = (limit if 0 <= limit < 4096 else 4096 for limit in (files, processes))
    return ("--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}")


def mounts(run: Path, home: Path) -> tuple[str, ...]:
    return ("--volume", f"{run}:{EDITOR_FOLDER}", "--volume", f"{home}:{HOME}", "--workdir", HOME, "--tmpfs", "/tmp:rw,mode=1777")


def env(editor: Editor) -> list[str]:
    return [text for key, value in {"HOME": HOME, **editor.env}.items() for text in ("--env", f"{key}={value}")]


async def answers(socket: Path, path: str) -> bool:
    """Whether `path` answers 200 on the socket now."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            # What runs in there is not trusted yet: a link in the socket's place must not lead anywhere.
            connected = await unixdoor.connect(Place(str(socket), SOMEBODY if os.geteuid() == 0 else os.getuid()))
            return (await unixhttp.ask_on(connected, "GET", path)).status == 200
    except (OSError, TimeoutError, Unreachable):
        return False
