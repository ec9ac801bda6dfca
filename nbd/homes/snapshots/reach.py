"""Whether the indexes have everything that a snapshot reaches. What was proven once is not walked again."""

from __future__ import annotations

from ...errors import Damaged
from ..model import NO_ID, Entry, Kind, Listed
from .contents import extents_of
from .encoding import decode_entries, decode_parts, list_ids
from .repository import Repository


class Reach:
    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._proven: set[bytes] = set()

    async def whole(self, listed: Listed) -> bool:
        """Raises the store's trouble: then it is not known."""
        try:
            snapshot = await self._repository.snapshot(listed)
            stack, walked = [bytes.fromhex(snapshot.tree)], set[bytes]()
            while stack:
                tree = stack.pop()
                if tree not in walked and tree not in self._proven:
                    walked.add(tree)
                    stack += await self._below(tree)
        except Damaged:
            return False
        self._proven |= walked
        return True

    async def _below(self, tree: bytes) -> list[bytes]:
        """The trees below. Raises Damaged where something is in no index."""
        self._known(tree)
        data = await self._repository.blob(tree)
        if data[:1] == b"S":
            return decode_parts(data)
        entries = decode_entries(data)
        for entry in entries:
            if entry.kind == Kind.FILE:
                await self._file(entry)
        return [entry.payload for entry in entries if entry.kind == Kind.FOLDER]

    async def _file(self, entry: Entry) -> None:
        for part in list_ids(entry.payload) if entry.payload[:1] == b"L" else []:
            self._known(part)
        for extent in await extents_of(self._repository, entry):
            if extent.id != NO_ID:
                self._known(extent.id)

    def _known(self, part: bytes) -> None:
        if self._repository.find(part) is None:
            raise Damaged(f"blob {part.hex()[:12]} is in no index")
