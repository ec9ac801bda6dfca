"""Carries down what a plan says, by hands that are the folder's owner: removals, folders, files. Each file is whole under its name or not there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ...errors import Conflict, NbdError
from ..model import Entry, Kind, Seen
from ..ports import OpenHome, Piece, Thing, Writing
from .content import PART, digested
from .model import Action, Attachment, Do, Here, Known, Plan, Remote
from .names import above
from .ports import Hands, Ledger, Objects
from .sender import Tally

BATCH_BYTES, BATCH_FILES = 8 << 20, 64
SETTLE_BYTES, SETTLE_FILES = 256 << 20, 2000
"""So much is written before it is synced to disk and known: what a kill costs to compare again."""
LARGE = 8 << 20
FILE_MODE, FOLDER_MODE = 0o644, 0o755


class Bringer:
    def __init__(self, attachment: Attachment, objects: Objects, ledger: Ledger, hands: Hands, tally: Tally) -> None:
        self._attachment, self._objects, self._ledger, self._hands, self._tally = attachment, objects, ledger, hands, tally
        self._fresh: list[Known] = []
        self._bytes = 0

    async def run(self, plan: Plan, here: Here, folder: OpenHome) -> None:
        """Raises what the store raises, HostUnfit(no_space), Unreachable when the hands are gone: what came down so far is found again."""
        await self._remove(plan, here)
        downloads = [action for action in plan.of(Do.DOWNLOAD) if await self._is_object(action)]
        await self._make_way({action.path for action in downloads}, here)
        made = await self._folders(downloads, here)
        # Before it is overwritten, and not after: what comes down must never be taken for a change to the copy there.
        copied = [path for action in downloads if (was := self._ledger.known.get(path := action.path)) and was.key != path]
        await self._ledger.note((), copied)
        try:
            await self._files(downloads, folder)
        except NbdError:
            with suppress(NbdError):
                await self._known()
            raise
        newest = max((remote_of(action).modified for action in downloads), default=0)
        dressed = [(path.encode(), self._entry(path, FOLDER_MODE)._replace(mtime=newest)) for path in reversed(made)]
        self._say([path for path, _ in dressed], await self._hands.dress(dressed))

    async def _files(self, downloads: Sequence[Action], folder: OpenHome) -> None:
        for batch in batches(downloads):
            if remote_of(batch[0]).size > LARGE:
                await self._large(batch[0], folder)
            else:
                await self._small(batch, folder)
            if self._bytes > SETTLE_BYTES or len(self._fresh) > SETTLE_FILES:
                await self._known()
        await self._known()

    async def _remove(self, plan: Plan, here: Here) -> None:
        gone = [(action.path.encode(), action.seen) for action in plan.of(Do.DELETE_HERE) if action.seen]
        left = [(seen.name, seen) for seen in here.leftovers]
        if not gone and not left:
            return
        troubles = await self._hands.clear([(*split(path), Thing(seen.kind, seen.ino, seen.ctime)) for path, seen in (*gone, *left)])
        troubles = troubles[: len(gone)]
        self._say([path for path, _ in gone], troubles)
        removed = [path.decode() for (path, _), trouble in zip(gone, troubles, strict=True) if not trouble]
        await self._prune(removed, here)
        await self._hands.settle([path.encode() for path in removed])
        await self._ledger.note((), removed)
        self._tally.files += len(gone)

    async def _prune(self, removed: Sequence[str], here: Here) -> None:
        """Folders that are empty now go too: there is no such thing in a bucket."""
        staying = {folder for path in here.files.keys() - set(removed) for folder in above(path)}
        empty = sorted({folder for path in removed for folder in above(path)} - staying, reverse=True)
        if empty:
            await self._hands.clear([(*split(path.encode()), Thing(Kind.FOLDER, 0, 0)) for path in empty])

    async def _make_way(self, files: set[str], here: Here) -> None:
        """Folders with nothing in them, where a file is to be."""
        doomed = sorted((path for path in here.folders if not files.isdisjoint((path, *above(path)))), reverse=True)
        if doomed:
            await self._hands.clear([(*split(path.encode()), Thing(Kind.FOLDER, 0, 0)) for path in doomed])

    async def _is_object(self, action: Action) -> bool:
        """Some libraries show the mark of an empty folder as an empty object of the folder's name; there is no object of that name."""
        return bool(remote_of(action).size) or await self._objects.look(action.key) is not None

    async def _folders(self, downloads: Sequence[Action], here: Here) -> list[str]:
        there = {folder for path in here.files for folder in above(path)}
        wanted = sorted({folder for action in downloads for folder in above(action.path)} - there)
        if wanted:
            self._say([path.encode() for path in wanted], await self._hands.make([path.encode() for path in wanted]))
        return wanted

    async def _small(self, batch: Sequence[Action], folder: OpenHome) -> None:
        found = await asyncio.gather(*(self._fetched(action) for action in batch))
        whole = [(action, data) for action, data in zip(batch, found, strict=True) if data is not None]
        writings = [(parent(action), Writing(self._file(action), (Piece(0, data),) if data else ())) for action, data in whole]
        troubles = await self._hands.write(writings) if writings else []
        self._say([action.path.encode() for action, _ in whole], troubles)
        done = [(action, await digested(data)) for (action, data), trouble in zip(whole, troubles, strict=True) if not trouble]
        await self._written(done, folder)

    async def _fetched(self, action: Action) -> bytes | None:
        remote = remote_of(action)
        try:
            data = await self._objects.read(action.key, remote.version, 0, remote.size) if remote.size else b""
        except Conflict:
            data = b""
        if len(data) == remote.size:
            return data
        self._tally.again = True  # Changed there since it was listed.
        return None

    async def _large(self, action: Action, folder: OpenHome) -> None:
        remote = remote_of(action)
        try:
            file = await self._hands.begin(parent(action), self._file(action))
        except OSError as error:
            self._tally.left[action.path] = error.strerror or "cannot be written"
            return
        hashed, at = hashlib.sha256(), 0
        try:
            while at < remote.size and (data := await self._objects.read(action.key, remote.version, at, PART)):
                hashed.update(data)
                await file.write([Piece(at, data)])
                at += len(data)
                self._tally.bytes += len(data)
            if at != remote.size:
                raise Conflict("it has another size than its listing says")
            await file.finish()
        except Conflict:
            await file.abandon()
            self._tally.again = True
        except OSError as error:
            await file.abandon()
            self._tally.left[action.path] = error.strerror or "cannot be written"
        except BaseException:
            await file.abandon()
            raise
        else:
            self._tally.bytes -= remote.size
            await self._written([(action, hashed.hexdigest())], folder)

    async def _written(self, done: Sequence[tuple[Action, str]], folder: OpenHome) -> None:
        """What stat now says of them is what is known; only what it says of just what was written."""
        folders = sorted({parent(action) for action, _ in done})
        looked = await folder.look([(path, True) for path in folders]) if folders else []
        seen = {(path, one.name): one for path, listing in zip(folders, looked, strict=True) for one in listing.entries}
        for action, digest in done:
            remote, is_there = remote_of(action), seen.get(split(action.path.encode()))
            if is_there and is_there.kind is Kind.FILE and (is_there.size, is_there.mtime) == (remote.size, remote.modified):
                self._fresh.append(known(action, remote, is_there, digest))
            self._tally.files += 1
            self._tally.bytes += remote.size
            self._bytes += remote.size

    async def _known(self) -> None:
        if self._fresh:
            await self._hands.settle([one.path.encode() for one in self._fresh])
            await self._ledger.note(self._fresh)
        self._fresh, self._bytes = [], 0

    def _file(self, action: Action) -> Entry:
        remote = remote_of(action)
        mode = action.seen.mode & 0o777 if action.seen else FILE_MODE
        return self._entry(action.path, mode)._replace(kind=Kind.FILE, size=remote.size, mtime=remote.modified)

    def _entry(self, path: str, mode: int) -> Entry:
        owner = self._attachment
        return Entry(path.rpartition("/")[2].encode(), Kind.FOLDER, 0, mode, owner.uid, owner.gid, 0, 0, 0, 0, b"")

    def _say(self, paths: Sequence[bytes], troubles: Sequence[str]) -> None:
        self._tally.left.update({path.decode(): trouble for path, trouble in zip(paths, troubles, strict=True) if trouble})


def known(action: Action, remote: Remote, seen: Seen, digest: str) -> Known:
    return Known(action.path, action.key, remote.version, seen.size, seen.mtime, seen.ctime, seen.ino, digest)


def remote_of(action: Action) -> Remote:
    assert action.remote is not None
    return action.remote


def split(path: bytes) -> tuple[bytes, bytes]:
    """The folder, and the name in it."""
    folder, _, name = path.rpartition(b"/")
    return folder, name


def parent(action: Action) -> bytes:
    return split(action.path.encode())[0]


def batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    batch: list[Action] = []
    size = 0
    for action in actions:
        weight = remote_of(action).size
        if batch and (size + weight > BATCH_BYTES or len(batch) >= BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(action)
        size += weight
    if batch:
        yield batch
