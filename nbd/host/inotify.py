"""Changes in a home by inotify, where there is no fanotify: one watch for each folder, through watchdog's reader of the kernel's queue.

Of watchdog only that reader is used, and what its observers do with it is not: they pair renames, follow paths by name, and go on as if nothing
was lost when the queue overflows or the limit of watches is reached. Here a folder is watched by an open descriptor, nothing is paired, and whatever
cannot be known loses the watch of the whole home, said aloud; the guardian begins anew, or looks again and again.

One reader a home: one that overflows, or hangs on a dead disk, is nobody else's trouble.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import logging
import os
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from ..errors import HostUnfit, NbdError
from ..homes.keeping.dirt import DirtySet
from ..homes.model import HomeRequest
from ..homes.ports import Watch
from .beneath import FOLDER, open_beneath
from .blocking import Blocking
from .homespot import open_home, spot_of

log = logging.getLogger(__name__)
logging.getLogger("watchdog").setLevel(logging.ERROR)
"""Its word for an overflow is a line for each; ours is one."""
NAME = "inotify"
SECONDS, WALK_SECONDS = 10.0, 30.0
RETRY_SECONDS = 600.0
"""A limit that was reached may be higher after that."""
OVERFLOW_SECONDS = 5.0
"""A queue that overflowed while the first folders were being watched need not do so again."""
OVERFLOWED = "the kernel's queue of events overflowed"
PACE_SECONDS = 0.01
MOST_FOLDERS = 50_000
"""Of one home: each takes 0.8 KB here, and 1 KB in the kernel."""
CHANGES = (
    InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB | InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_EXCL_UNLINK
)  # fmt: skip
NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES)
"""Gone, no folder any more, of another file system, or nothing that could be kept."""
LIMITS = {
    errno.ENOSPC: "the limit of watches is reached (fs.inotify.max_user_watches)",
    errno.EMFILE: "the limit of readers is reached (fs.inotify.max_user_instances)",
    errno.ENOMEM: "the kernel has no memory for more watches",
}


class InotifySource:
    name = NAME

    def __init__(self) -> None:
        self._door = Blocking(4)
        self._overflows = 0

    @property
    def turn(self) -> int:
        return int(time.monotonic() / RETRY_SECONDS) + self._overflows

    async def watch(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool]) -> Watch:
        tree = Tree(home, dirt, hidden)
        try:
            await self._door.run(f"the home {home.path}", WALK_SECONDS, tree.begin)
        except BaseException:
            if tree.lost() == OVERFLOWED:
                asyncio.get_running_loop().call_later(OVERFLOW_SECONDS, self._another_turn)
            await tree.close()
            raise
        return tree

    def _another_turn(self) -> None:
        self._overflows += 1


class Reader(InotifyFD):
    """Knows when its queue was empty, and does not end unheard."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        """Raises OSError."""
        super().__init__()
        self._failed = failed
        self.read_at = self._began = time.monotonic()
        self._working = False

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # whatever it is, nobody tells of changes any more
            log.exception("the queue of events cannot be read")
            self._failed(f"the queue of events cannot be read: {error}")

    def read_events(self, *, event_buffer_size: int = 256 << 10) -> list[InotifyEvent]:
        if self._working:
            # What was read before is dealt with; what happens now in one file is one event.
            time.sleep(PACE_SECONDS)
            self.read_at, self._working = self._began, False
        return super().read_events(event_buffer_size=event_buffer_size)

    def _check_inotify_fd(self) -> bool:
        ready = super()._check_inotify_fd()
        self._began, self._working = time.monotonic(), True
        return ready

    def told(self) -> float:
        """What happened before that was dealt with."""
        # In this order: what was in the queue before `now` is out of it, and dealt with.
        now = time.monotonic()
        with suppress(OSError):
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._inotify_fd, termios.FIONREAD, bytes(4)))
            if not waiting and not self._working:
                self.read_at = now
        return self.read_at


class Folder:
    """One watched folder; what watchdog calls when something happened in it."""

    __slots__ = ("below", "inode", "key", "name", "parent", "tree", "wd")

    def __init__(self, tree: Tree, parent: Folder | None, name: bytes) -> None:
        self.tree, self.parent, self.name = tree, parent, name
        self.key = CallbackId(next(tree.keys))
        self.wd: WatchDescriptor | None = None
        self.inode = 0
        self.below: dict[bytes, Folder] = {}

    @property
    def path(self) -> bytes:
        names: list[bytes] = []
        folder: Folder | None = self
        while folder is not None and folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        return b"/".join(reversed(names))

    def everything(self) -> list[Folder]:
        found = [self]
        for folder in found:
            found += folder.below.values()
        return found

    def on_event(self, event: InotifyEvent) -> None:
        self.tree.see(self, event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The folder is gone, which its parent's event tells; or its disk is, which nothing else does."""
        if self.parent is None:
            self.tree.lose("its folder is not there any more")

    def on_queue_overflow(self) -> None:
        self.tree.lose(OVERFLOWED)


class Tree:
    """The watched folders of one home."""

    name = NAME

    def __init__(self, home: HomeRequest, dirt: DirtySet, hidden: Callable[[bytes], bool]) -> None:
        self.whole = False
        self.keys = itertools.count()
        self._home, self._dirt, self._hidden = home, dirt, hidden
        self._lock = threading.RLock()
        self._top = Folder(self, None, b"")
        self._count = 0
        self._reader: Reader | None = None
        self._lost = ""
        self._inode = 0
        self._door = Blocking(2)

    def begin(self) -> None:
        """Watch all there is. Raises HostUnfit(no_events), Refused(home_missing)."""
        root = open_home(self._home)
        try:
            spot = spot_of(root)
            self.whole, self._inode = spot.own, spot.inode
            self._reader = Reader(self.lose)
            self._reader.start()
            self._watch(root, [self._top], told=True)
        except OSError as error:
            raise no_events(LIMITS.get(error.errno or 0, error.strerror or str(error))) from None
        finally:
            os.close(root)
        if self._lost:
            raise no_events(self._lost)

    def told(self) -> float:
        return self._reader.told() if self._reader else 0.0

    def lost(self) -> str:
        return self._lost

    def lose(self, why: str) -> None:
        if not self._lost:
            log.info("%s: %s", self._home.path, why)
            self._dirt.mark_all(why, self._reader.read_at if self._reader else None)
            self._lost = why

    async def sound(self) -> str:
        try:
            return await self._door.run(f"the home {self._home.path}", SECONDS, self._sound)
        except NbdError as error:
            return error.message

    async def close(self) -> None:
        self._lost = self._lost or "closed"
        if self._reader:
            reader, self._reader = self._reader, None
            with suppress(NbdError):  # It hangs on a dead disk, and ends with sync.
                await self._door.run("the reader of events", SECONDS, lambda: ended(reader))

    def see(self, folder: Folder, event: InotifyEvent) -> None:
        if self._lost:
            return
        if event.mask & (InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_DELETE_SELF):
            if folder.parent is None:
                self.lose("its folder was moved")
            return
        with self._lock:
            path = folder.path
            if event.is_directory and event.name:
                try:
                    self._changed(folder, event)
                except NbdError as error:
                    self.lose(error.message)
                except OSError as error:
                    self.lose(LIMITS.get(error.errno or 0, error.strerror or str(error)))
        self._dirt.mark(path)

    def _changed(self, folder: Folder, event: InotifyEvent) -> None:
        """A folder came, went, or is another one now. Where it came from or went to is of no interest."""
        if event.mask & (InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM):
            self._forget(folder.below.pop(event.name, None))
        elif event.mask & (InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO):
            new = Folder(self, folder, event.name)
            if self._hidden(new.path):
                return
            root = open_home(self._home)
            try:
                self._watch(root, [new], told=False)
            finally:
                os.close(root)

    def _watch(self, root: int, waiting: list[Folder], *, told: bool) -> None:
        """These, and all below them. Unless somebody is told to look at all of it, each is marked: it may have been written into before."""
        while waiting and not self._lost:
            folder = waiting.pop()
            with self._lock:
                more = self._one(root, folder)
            if more is not None and not told:
                self._dirt.mark(folder.path)
            waiting += more or ()

    def _one(self, root: int, folder: Folder) -> list[Folder] | None:
        """Watch it, and then list what is in it: so no folder can come between. None: there is nothing to watch, or it is watched."""
        path = folder.path
        try:
            opened = open_beneath(root, path, FOLDER) if path else os.dup(root)
        except OSError as error:
            if error.errno in NOT_OURS:
                return None
            raise
        try:
            if not self._add(folder, opened):
                return None
            with os.scandir(opened) as listing:
                names = [os.fsencode(one.name) for one in listing if one.is_dir(follow_symlinks=False)]
        finally:
            os.close(opened)
        return [Folder(self, folder, name) for name in names if not self._hidden(path + b"/" + name if path else name)]

    def _add(self, folder: Folder, opened: int) -> bool:
        """Whether it is new. Raises OSError at a limit."""
        folder.inode, above = os.fstat(opened).st_ino, folder.parent
        known = above.below.get(folder.name) if above else None
        if known is not None and known.inode == folder.inode:
            return False
        self._forget(known)
        if self._reader is None:
            return False
        if self._count >= MOST_FOLDERS:
            raise no_events(f"there are more than {MOST_FOLDERS} folders")
        # Not its path: what has that name may be another by now, or a link.
        folder.wd = self._reader.add_callback(b"/proc/self/fd/%d" % opened, Mask(CHANGES), folder, folder.key)
        if folder.wd < 0:
            raise no_events("the kernel refuses to watch a folder")
        self._count += 1
        if above:
            above.below[folder.name] = folder
        return True

    def _forget(self, folder: Folder | None) -> None:
        gone = folder.everything() if folder else []
        self._count -= len(gone)
        if self._reader:
            self._reader.remove_callbacks([(one.wd, one.key) for one in gone if one.wd is not None])

    def _sound(self) -> str:
        root = open_home(self._home)
        try:
            return "" if os.fstat(root).st_ino == self._inode else "another folder is where it was"
        finally:
            os.close(root)


def ended(reader: Reader) -> None:
    reader.stop()
    reader.join()


def no_events(why: str) -> HostUnfit:
    return HostUnfit(why, code="no_events")
