"""The programs of `nbd dev`: started again when they die, ended in order, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from nbd.host.children import Child, Program, run_once

SLEEPS = Program("sleeper", ("sleep", "1000"))


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not what():
            await asyncio.sleep(0.01)


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    child = Child(SLEEPS)
    await child.start()
    yield child
    await child.stop()


async def test_it_runs_in_a_session_of_its_own(child: Child) -> None:
    """So Ctrl-C in the terminal reaches nbd dev alone, which ends them in order."""
    assert child.pid
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


async def test_one_that_dies_is_started_again(child: Child) -> None:
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid not in (None, first))
    assert psutil.pid_exists(child.pid or 0)
    assert not child.refused, "it was killed; it had nothing against this box"


async def test_one_that_ends_with_an_error_of_its_own_is_known_for_it() -> None:
    child = Child(Program("refuser", ("sh", "-c", "exit 1")))
    await child.start()
    await until(lambda: child.refused)
    await child.stop()


async def test_stopping_is_asked_first(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = Child(Program("polite", ("sh", "-c", f"trap 'echo bye > {said}; exit 0' TERM; echo up > {said}; while :; do sleep 0.05; done")))
    await child.start()
    await until(said.exists)
    await child.stop()
    assert said.read_text() == "bye\n"
    assert not psutil.pid_exists(child.pid or 0)


async def test_stopping_one_that_is_dead_or_never_was() -> None:
    await Child(SLEEPS).stop()
    child = Child(SLEEPS)
    await child.start()
    os.kill(child.pid or 0, signal.SIGKILL)
    await child.stop()
    await child.stop()


async def test_they_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = """
        import asyncio
        from nbd.host.children import Child, Program
        async def main():
            child = Child(Program("sleeper", ("sleep", "1000")))
            await child.start()
            print(child.pid, flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
    """
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(script), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    pid = int(await parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def test_one_run_to_its_end() -> None:
    assert await run_once(("sh", "-c", "exit 7"), None, None) == 7
    before = set(psutil.Process().children())
    task = asyncio.create_task(run_once(("sleep", "1000"), None, None))
    await until(lambda: set(psutil.Process().children()) - before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(psutil.Process().children()) <= before


@pytest.mark.real
async def test_one_run_as_the_person_who_called_sudo(short_path: Path) -> None:
    said = short_path / "said"
    said.touch()
    said.chmod(0o666)
    assert await run_once(("sh", "-c", f"id -u > {said}; id -G >> {said}"), 65001, 65002) == 0
    assert said.read_text().split() == ["65001", "65002"], "and none of root's groups"
