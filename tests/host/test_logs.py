"""Editors' logs as conmon writes them: lines, partial lines, a file that begins anew, and one that is huge."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from nbd.host.logs import LINE_CHARACTERS, TAIL_BYTES, FileLogs, plain

ID = "nabcdefghi"


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    return FileLogs(tmp_path)


def never() -> bool:
    return False


def line(text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"2026-11-20T14:02:00.123456789+00:00 {stream} {tag} {text}\n"


def write(logs: FileLogs, *lines: str) -> None:
    with open(logs.path(ID), "a") as file:
        file.write("".join(lines))


LINES: dict[str, tuple[list[bytes], list[str]]] = {
    "plain": ([line("hello").encode()], ["hello"]),
    "of both streams": ([line("a").encode(), line("b", stream="stderr").encode()], ["a", "b"]),
    "spaces are kept": ([line("  a  b ").encode()], ["  a  b "]),
    "empty": ([line("").encode()], [""]),
    "partial lines are joined": ([line("a", "P").encode(), line("b", "P").encode(), line("c").encode(), line("d").encode()], ["abc", "d"]),
    "a partial line at the end": ([line("a").encode(), line("b", "P").encode()], ["a", "b"]),
    "not UTF-8": ([b"2026 stdout F \xff\xfe"], ["\ufffd\ufffd"]),
    "not conmon's": ([b"what", b"is this", b""], ["", "", ""]),
    "long": ([line("x" * 9000).encode()], ["x" * LINE_CHARACTERS]),
    "long in parts": ([line("x" * 8000, "P").encode()] * 5, ["x" * LINE_CHARACTERS]),
}


@pytest.mark.parametrize(("raw", "wanted"), LINES.values(), ids=list(LINES))
def test_lines(raw: list[bytes], wanted: list[str]) -> None:
    assert plain([each.rstrip(b"\n") for each in raw]) == wanted


async def test_the_last_lines(logs: FileLogs) -> None:
    assert await logs.tail(ID, 5) == ()
    write(logs, *(line(f"{number}") for number in range(10)))
    assert await logs.tail(ID, 3) == ("7", "8", "9")
    assert await logs.tail(ID, 0) == ()
    assert len(await logs.tail(ID, 1000)) == 10
    write(logs, "2026-11-20T14:02:00+00:00 stdout F half a li")
    assert await logs.tail(ID, 1) == ("9",), "a line that conmon is writing now is not shown yet"


async def test_a_huge_log_costs_as_little_as_a_small_one(logs: FileLogs) -> None:
    with open(logs.path(ID), "wb") as file:
        file.truncate(100 << 20)
    write(logs, "\n", *(line(f"{number}") for number in range(5000)))
    tracemalloc.start()
    try:
        assert await logs.tail(ID, 2) == ("4998", "4999")
        assert tracemalloc.get_traced_memory()[1] < 20 * TAIL_BYTES
    finally:
        tracemalloc.stop()


async def several(lines: AsyncIterator[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await anext(lines) for _ in range(count)]


async def test_following_begins_with_the_last_and_goes_on(logs: FileLogs) -> None:
    write(logs, line("a"), line("b"))
    async with aclosing(logs.follow(ID, 1, never)) as following:
        assert await several(following, 1) == ["b"]
        write(logs, line("c"), "2026-11-20T14:02:00+00:00 stdout F d1")
        assert await several(following, 1) == ["c"]
        write(logs, " d2\n")
        assert await several(following, 1) == ["d1 d2"]


async def test_following_ends_when_nothing_more_can_come(logs: FileLogs) -> None:
    write(logs, line("a"))
    asked: list[str] = []

    def over() -> bool:
        if not asked:
            write(logs, *(line(f"{number}" + "x" * 100) for number in range(2 * TAIL_BYTES // 100)))
        asked.append("again")
        return True

    async with asyncio.timeout(30):
        told = [text async for text in logs.follow(ID, 1, over)]
    assert told[0] == "a"
    assert len(told) == 1 + 2 * TAIL_BYTES // 100, "all that was written before the end"


async def test_following_what_was_removed_ends(logs: FileLogs) -> None:
    async with asyncio.timeout(10):
        assert [text async for text in logs.follow(ID, 5, lambda: True)] == []


async def test_following_before_there_is_anything(logs: FileLogs) -> None:
    async with aclosing(logs.follow(ID, 10, never)) as following:
        first = asyncio.ensure_future(several(following, 2))
        await asyncio.sleep(0)
        write(logs, line("a"), line("b"))
        assert await first == ["a", "b"]


@pytest.mark.parametrize("grows", [1, 50], ids=["shorter", "longer than the last"])
async def test_following_goes_on_with_the_next_run(logs: FileLogs, grows: int) -> None:
    write(logs, *(line(f"old {number}") for number in range(10)))
    async with aclosing(logs.follow(ID, 1, never)) as following:
        assert await several(following, 1) == ["old 9"]
        await logs.fresh(ID)
        assert await logs.tail(ID, 5) == ()
        write(logs, *(line(f"new {number}") for number in range(grows)))
        assert await several(following, grows) == [f"new {number}" for number in range(grows)]


async def test_following_over_conmons_own_limit(logs: FileLogs) -> None:
    """conmon begins its file anew when it has grown to its limit."""
    write(logs, *(line(f"old {number}") for number in range(10)))
    async with aclosing(logs.follow(ID, 1, never)) as following:
        await several(following, 1)
        with open(logs.path(ID), "w") as file:
            file.write(line("new"))
        assert await several(following, 1) == ["new"]


async def test_a_burst_larger_than_one_look_comes_whole(logs: FileLogs) -> None:
    write(logs, line("first"))
    async with aclosing(logs.follow(ID, 1, never)) as following:
        await several(following, 1)
        count = 3 * TAIL_BYTES // len(line("0"))
        write(logs, *(line(f"{number}") for number in range(count)))
        assert await several(following, count) == [str(number) for number in range(count)]


async def test_removed_is_gone_and_may_be_removed_again(logs: FileLogs) -> None:
    write(logs, line("a"))
    for _ in range(2):
        await logs.remove(ID)
    assert not Path(logs.path(ID)).exists()
