"""Listens on a socket as somebody else, in a process of its own: `python -m tests.fakes.squatter PATH UID`. Says "ready", answers every call 200."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nstolen"
ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def squatting(path: Path, uid: int) -> AsyncIterator[None]:
    """Somebody with `uid` listens at `path`; the file there is theirs too."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.squatter", str(path), str(uid), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.terminate()
        await process.wait()


async def squat(path: str, uid: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        writer.close()

    os.setuid(uid)
    server = await asyncio.start_unix_server(answer, path)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(squat(sys.argv[1], int(sys.argv[2])))
