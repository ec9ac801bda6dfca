"""Outside programs: what they say, what becomes of those that hang, and that none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nbd.errors import Deadline, HostUnfit
from nbd.host.commands import Outcome, found, package_of, run

LONG = 30.0


async def test_what_it_says_and_how_it_ends() -> None:
    assert await run(["sh", "-c", "cat; echo err >&2; exit 3"], LONG, "given") == Outcome(3, "given", "err\n")
    assert await run(["printf", r"\377\376ok"], LONG) == Outcome(0, "\ufffd\ufffdok", "")
    assert (await run(["sh", "-c", "kill -9 $$"], LONG)).code == -9


async def test_words_are_not_a_shell_line() -> None:
    assert (await run(["printf", "%s", "$(id); `id` && id"], LONG)).out == "$(id); `id` && id"


async def test_more_than_a_pipe_holds_both_ways() -> None:
    much = "x" * (4 << 20)
    assert (await run(["sh", "-c", "cat; head -c 1000000 /dev/zero >&2"], LONG, much)).out == much


async def test_one_that_does_not_read_what_it_is_given() -> None:
    assert (await run(["true"], LONG, "x" * (1 << 20))).code == 0


@pytest.mark.parametrize("how", ["absent", "not to be run"])
async def test_a_program_that_is_not_there(tmp_path: Path, how: str) -> None:
    program = tmp_path / "program"
    if how == "not to be run":
        program.write_text("")
    with pytest.raises(HostUnfit) as caught:
        await run([str(program)], LONG)
    assert "apt-get install" in caught.value.hint


async def test_a_box_without_descriptors_is_said_and_not_a_crash() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = os.open("/", os.O_PATH)
    os.close(here)
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 1, hard))
    try:
        with pytest.raises(HostUnfit, match="cannot be started now") as caught:
            await run(["true"], LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.retryable


def test_administrations_programs_are_found_without_a_path_to_them() -> None:
    assert found("/bin/x") == "/bin/x"
    assert found("no-such-program-here") == "no-such-program-here"
    ran = subprocess.run(
        [sys.executable, "-c", "from nbd.host.commands import found; print(found('ldconfig'))"],
        env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.stdout.strip().endswith("sbin/ldconfig")


@pytest.mark.parametrize(("program", "package"), [("nft", "nftables"), ("crun", "crun")])
def test_the_package_of_a_program(program: str, package: str) -> None:
    assert package_of(program) == package


HANGS = {
    "itself": "exec sleep 1000",
    "a child of its own": "sleep 1000; true",
    "one in the background": "sleep 1000 & wait",
    "one that outlives it and holds its output": "sleep 1000 & exit 0",
    "one that will not be ended": "trap '' TERM INT HUP; sleep 1000; sleep 1000",
}


def sleepers(mark: str) -> list[int]:
    return [process.pid for process in psutil.process_iter() if has(process, mark)]


def has(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.cmdline() == ["sleep", "1000"] and process.environ().get("NBD_TEST_MARK") == mark
    return False


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("script", HANGS.values(), ids=list(HANGS))
async def test_one_that_hangs_is_ended_with_all_it_started(script: str, *, cancelled: bool) -> None:
    mark = secrets.token_hex(8)
    task = asyncio.create_task(run(["env", f"NBD_TEST_MARK={mark}", "sh", "-c", script], LONG if cancelled else 0.5))
    if cancelled:
        async with asyncio.timeout(10):
            while not sleepers(mark):
                await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else Deadline):
        await task
    async with asyncio.timeout(10):
        while sleepers(mark):
            await asyncio.sleep(0.01)
