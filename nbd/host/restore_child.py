"""The hands of a restore: a process that is the person, with no right but theirs. Core starts it; its standard input is a stream to sync.

It makes the folder to restore into and does there what sync says, through descriptors and no link (homewriter.py). It asks for nothing, opens no
store and holds no key. What sync has to tell the person it prints, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from ..errors import HostUnfit, NbdError
from ..homes.ports import NewFile, Piece, Thing, Writing
from . import frames, memory
from .homewriter import DescriptorTarget

AGAIN = "nothing half-written has its name; restore again"
BEAT_SECONDS = 5.0
"""So often who waits for an answer is told that it is being worked on, and who started this process, that it lives."""


class Ground:
    """The folder to restore into. Of a restore that comes to nothing, nothing is left."""

    def __init__(self, folder: Path) -> None:
        self.made = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103

    def leave(self) -> None:
        """Takes away the folders that were made for it, as far as nothing is in them."""
        with contextlib.suppress(OSError):
            for folder in self.made:
                folder.rmdir()


class Hands:
    def __init__(self, target: DescriptorTarget) -> None:
        self._target = target
        self._files: dict[int, NewFile] = {}

    async def answer(self, words: dict[str, Any], data: bytes) -> dict[str, Any]:
        try:
            return await self._do(words, data)
        except HostUnfit:
            return {"full": True}
        except OSError as error:
            return {"trouble": error.strerror or "cannot be written"}

    async def _do(self, words: dict[str, Any], data: bytes) -> dict[str, Any]:
        match words["do"]:
            case "make":
                return {"troubles": await self._target.make([frames.heard(folder) for folder in words["folders"]])}
            case "missing":
                return {"missing": await self._target.missing(self._named(words, data))}
            case "standing":
                names = zip(words["folders"], words["names"], strict=True)
                return {"standing": await self._target.standing([(frames.heard(folder), frames.heard(name)) for folder, name in names])}
            case "clear":
                doomed = [(frames.heard(folder), frames.heard(name), Thing(*thing)) for folder, name, thing in words["names"]]
                return {"troubles": await self._target.clear(doomed)}
            case "write":
                return {"troubles": await self._target.write(list(self._writings(words, data)))}
            case "link":
                return {"troubles": [await self._target.link(frames.heard(words["source"]), frames.heard(words["target"]))]}
            case "dress":
                return {"troubles": await self._target.dress(self._named(words, data))}
            case "flush":
                await self._target.flush()
                return {}
            case "tell":
                print(words["text"], flush=True)
                return {}
            case _:
                return await self._large(words, data)

    async def _large(self, words: dict[str, Any], data: bytes) -> dict[str, Any]:
        number = words["file"]
        match words["do"]:
            case "begin":
                entries, _ = frames.unpacked(data)
                self._files[number] = await self._target.begin(frames.heard(words["folder"]), entries[0])
            case "more":
                await self._files[number].write(list(pieces_of(words["pieces"], memoryview(data))))
            case "finish":
                await self._files[number].finish()
                del self._files[number]
            case "abandon":
                await self._files.pop(number).abandon()
        return {}

    @staticmethod
    def _named(words: dict[str, Any], data: bytes) -> list[tuple[bytes, Any]]:
        entries, _ = frames.unpacked(data)
        return list(zip((frames.heard(folder) for folder in words["folders"]), entries, strict=True))

    @staticmethod
    def _writings(words: dict[str, Any], data: bytes) -> Iterator[tuple[bytes, Writing]]:
        entries, rest = frames.unpacked(data)
        for folder, entry, pieces in zip(words["folders"], entries, words["pieces"], strict=True):
            yield frames.heard(folder), Writing(entry, tuple(pieces_of(pieces, rest)))
            rest = rest[sum(length for _, length in pieces) :]


class HomeHands(Hands):
    def __init__(self, target: DescriptorTarget, ground: Ground) -> None:
        super().__init__(target)
        self._ground, self._whole = ground, False

    async def answer(self, words: dict[str, Any], data: bytes) -> dict[str, Any]:
        if words["do"] == "leave":
            self._ground.leave()
            return {}
        self._whole |= words["do"] == "flush"
        return await super().answer(words, data)

    def end(self) -> None:
        """Sync may be gone in the middle of it; a restore that went well ends with a flush."""
        if not self._whole:
            self._ground.leave()


def pieces_of(pieces: list[list[int]], data: memoryview) -> Iterator[Piece]:
    for offset, length in pieces:
        yield Piece(offset, bytes(data[:length]))
        data = data[length:]


async def worked_out(writer: asyncio.StreamWriter, answer: Coroutine[Any, Any, dict[str, Any]], beat: float = BEAT_SECONDS) -> dict[str, Any]:
    work = asyncio.create_task(answer)
    while not (await asyncio.wait({work}, timeout=beat))[0]:
        await frames.send(writer, {"busy": True})
        print(flush=True)
    return work.result()


async def serve(folder: Path) -> None:
    ground = Ground(folder)
    target = DescriptorTarget(folder)
    hands = HomeHands(target, ground)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(0)))
    try:
        await frames.send(writer, {"ready": True, "home": not ground.made and target.touches(os.environ["HOME"])})
        while (frame := await frames.receive(reader)) is not None:
            await frames.send(writer, await worked_out(writer, hands.answer(*frame)))
    finally:
        writer.close()
        target.close()
        hands.end()


def main() -> int:
    memory.keep_buffers()
    folder = Path(sys.argv[1])
    try:
        asyncio.run(serve(folder))
    except ConnectionError:  # Sync is gone.
        problem = {"code": "broken_off", "message": "the restore was broken off", "hint": AGAIN, "retryable": True}
    except NbdError as error:
        problem = {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable}
    except OSError as error:
        message = f"cannot restore into {folder}: {error.strerror}"
        problem = {"code": "no_target", "message": message, "hint": "choose another folder: --to DIR", "retryable": False}
    else:
        return 0
    print(json.dumps({"error": problem}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
