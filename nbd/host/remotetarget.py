"""A restore's target that is in another process: the child that is the person (restore_child.py), over one stream.

What the child says is the person's word about their own folder; nothing but lists of sentences and truth values is taken from it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..errors import HostUnfit, Unreachable
from ..homes.model import Entry
from ..homes.ports import NewFile, Piece, Thing, Writing
from . import frames

T = TypeVar("T")
MOST_ANSWER = 0
SECONDS, SILENCE = 600.0, 60.0
"""One answer may take so long; a child that is at work says so now and then, and one that says nothing for SILENCE is stopped, or never will."""
MOST_BEATS = 600
AT_ONCE = 500


class RemoteTarget:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silence: float = SILENCE) -> None:
        self._reader, self._writer, self._silence = reader, writer, silence
        self._turn = asyncio.Lock()
        self._over = False
        """An answer never came: the next one would be to another question."""
        self._files = itertools.count()

    async def make(self, folders: Sequence[bytes]) -> list[str]:
        return await self._troubles(len(folders), {"do": "make", "folders": [frames.told(folder) for folder in folders]})

    async def missing(self, names: Sequence[tuple[bytes, Entry]]) -> list[bool]:
        found: list[bool] = []
        for some in batched(names):
            words = {"do": "missing", "folders": [frames.told(folder) for folder, _ in some]}
            answer = (await self.ask(words, [frames.packed([entry for _, entry in some])])).get("missing")
            if not isinstance(answer, list) or len(answer) != len(some):
                raise broken()
            found += [bool(one) for one in answer]
        return found

    async def standing(self, names: Sequence[tuple[bytes, bytes]]) -> list[Thing | None]:
        found: list[Thing | None] = []
        for some in batched(names):
            words = {"do": "standing", "folders": [frames.told(folder) for folder, _ in some], "names": [frames.told(name) for _, name in some]}
            answer = (await self.ask(words)).get("standing")
            if not isinstance(answer, list) or len(answer) != len(some):
                raise broken()
            found += [heard_thing(one) for one in answer]
        return found

    async def clear(self, names: Sequence[tuple[bytes, bytes, Thing]]) -> list[str]:
        troubles: list[str] = []
        for some in batched(names):
            words = {"do": "clear", "names": [[frames.told(folder), frames.told(name), list(thing)] for folder, name, thing in some]}
            troubles += await self._troubles(len(some), words)
        return troubles

    async def write(self, writings: Sequence[tuple[bytes, Writing]]) -> list[str]:
        pieces = [[(piece.offset, len(piece.data)) for piece in writing.pieces] for _, writing in writings]
        words = {"do": "write", "folders": [frames.told(folder) for folder, _ in writings], "pieces": pieces}
        data = [frames.packed([writing.entry for _, writing in writings]), *(piece.data for _, writing in writings for piece in writing.pieces)]
        return await self._troubles(len(writings), words, data)

    async def begin(self, folder: bytes, entry: Entry) -> NewFile:
        number = next(self._files)
        await self.ask({"do": "begin", "file": number, "folder": frames.told(folder)}, [frames.packed([entry])])
        return RemoteFile(self, number)

    async def link(self, source: bytes, target: bytes) -> str:
        return (await self._troubles(1, {"do": "link", "source": frames.told(source), "target": frames.told(target)}))[0]

    async def dress(self, folders: Sequence[tuple[bytes, Entry]]) -> list[str]:
        troubles: list[str] = []
        for some in batched(folders):
            words = {"do": "dress", "folders": [frames.told(folder) for folder, _ in some]}
            troubles += await self._troubles(len(some), words, [frames.packed([entry for _, entry in some])])
        return troubles

    async def flush(self) -> None:
        await self.ask({"do": "flush"})

    async def leave(self) -> None:
        """Nothing more comes: the folder goes, if it was made for this and is empty."""
        await self.ask({"do": "leave"})

    async def tell(self, message: str) -> None:
        """One line for whoever started the child."""
        await self.ask({"do": "tell", "text": message})

    async def ask(self, words: dict[str, Any], parts: Sequence[bytes] = ()) -> dict[str, Any]:
        """One question at a time. Raises OSError for a reason of the folder, HostUnfit where it is full, Unreachable when the child is gone."""
        # To its end also when who asked goes away: the next answer must be to the next question.
        exchange = asyncio.create_task(self._exchange(words, parts))
        exchange.add_done_callback(lambda task: task.cancelled() or task.exception())
        answer = await asyncio.shield(exchange)
        if answer.words.get("full"):
            hint = "make room, then restore again with the same --to: it goes on"
            raise HostUnfit("there is no space left to restore into", code="no_space", hint=hint)
        if "trouble" in answer.words:
            raise OSError(5, str(answer.words["trouble"])[:200])
        return answer.words

    async def _exchange(self, words: dict[str, Any], parts: Sequence[bytes]) -> frames.Frame:
        async with self._turn:
            was_over, self._over = self._over, True
            answer = None if was_over else await self._answered(words, parts)
            if answer is None:
                raise broken()
            self._over = False
            return answer

    async def _answered(self, words: dict[str, Any], parts: Sequence[bytes]) -> frames.Frame | None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(SECONDS):
                async with asyncio.timeout(self._silence):
                    await frames.send(self._writer, words, parts)
                return await self._awaited()
        return None

    async def _awaited(self) -> frames.Frame | None:
        for _ in range(MOST_BEATS):
            async with asyncio.timeout(self._silence):
                answer = await frames.receive(self._reader, MOST_ANSWER)
            if answer is None or "busy" not in answer.words:
                return answer
        return None

    async def _troubles(self, expected: int, words: dict[str, Any], parts: Sequence[bytes] = ()) -> list[str]:
        found = (await self.ask(words, parts)).get("troubles")
        if not isinstance(found, list) or len(found) != expected:
            raise broken()
        return [str(one)[:200] for one in found]


class RemoteFile:
    def __init__(self, target: RemoteTarget, number: int) -> None:
        self._target, self._number = target, number

    async def write(self, pieces: Sequence[Piece]) -> None:
        words = {"do": "more", "file": self._number, "pieces": [(piece.offset, len(piece.data)) for piece in pieces]}
        await self._target.ask(words, [piece.data for piece in pieces])

    async def finish(self) -> None:
        await self._target.ask({"do": "finish", "file": self._number})

    async def abandon(self) -> None:
        await self._target.ask({"do": "abandon", "file": self._number})


def batched(names: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def heard_thing(answer: object) -> Thing | None:
    if answer is None:
        return None
    if not isinstance(answer, list) or len(answer) != 3 or not all(isinstance(number, int) for number in answer):
        raise broken()
    return Thing(*answer)


def broken() -> Unreachable:
    return Unreachable("the restore was broken off", code="broken_off", hint="nothing half-written has its name; restore again")
