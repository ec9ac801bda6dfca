"""WebSockets after their handshake: bytes, copied both ways until an end closes or the right to them ends.

Frames are not put together, and a tap (traffic.py) looks at no more of a piece than its length and its first byte: a message of any size passes,
and costs one read and one write. A side that cannot take more pauses the other side's reading, so that neither ever holds more than a socket
buffer and the transport's high-water mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from .traffic import Tap


class Right(NamedTuple):
    """On whose word a tunnel lives: the sign-in's token hash and the notebook's id."""

    sign_in: str
    notebook: str


class Side(asyncio.Protocol):
    """One end. `on_lost` is told when its connection is over, `tapped` of every piece that comes from it."""

    __slots__ = ("_on_lost", "_tapped", "_write", "far")

    def __init__(self, far: asyncio.Transport, on_lost: Callable[[BaseException | None], None], tapped: Callable[[bytes], None]) -> None:
        self.far = far
        self._write = far.write
        self._tapped = tapped
        self._on_lost = on_lost

    def data_received(self, data: bytes) -> None:
        self._write(data)
        self._tapped(data)

    def pause_writing(self) -> None:
        """What the far end sent does not fit into this one."""
        if not self.far.is_closing():
            self.far.pause_reading()

    def resume_writing(self) -> None:
        if not self.far.is_closing():
            self.far.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.far.close()
        self._on_lost(exc)


class Tunnel:
    """Takes over both transports; whoever had them must not touch them again."""

    def __init__(
        self, browser: asyncio.Transport, editor: asyncio.Transport, tap: Tap, on_browser_lost: Callable[[BaseException | None], None]
    ) -> None:
        self._ends = (browser, editor)
        self._open = 2
        self._on_browser_lost = on_browser_lost
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        browser.set_protocol(Side(editor, self._browser_lost, tap.from_browser))
        editor.set_protocol(Side(browser, self._editor_lost, tap.from_editor))
        for end in self._ends:
            if not end.is_closing():
                end.resume_reading()

    def close(self) -> None:
        """Now, without waiting for what is still on its way: the right to it has ended, or the door stops."""
        for end in self._ends:
            end.abort()

    def _browser_lost(self, error: BaseException | None) -> None:
        self._one_lost()
        self._on_browser_lost(error)

    def _editor_lost(self, error: BaseException | None) -> None:
        self._one_lost()

    def _one_lost(self) -> None:
        self._open -= 1
        if not self._open and not self.closed.done():
            self.closed.set_result(None)


class Tunnels:
    """Every open tunnel, and every request that is on its way to an editor or back, by what it lives on."""

    def __init__(self) -> None:
        self._open: dict[Tunnel, Right] = {}
        self._relays: dict[asyncio.Transport, Right] = {}
        """By the browser's connection, which carries one request at a time."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, tunnel: Tunnel, right: Right) -> None:
        self._open[tunnel] = right
        tunnel.closed.add_done_callback(lambda _: self._open.pop(tunnel, None))

    def close_where(self, ended: Callable[[Right], bool]) -> None:
        for tunnel, right in list(self._open.items()):
            if ended(right):
                tunnel.close()

    def relay_begins(self, browser: asyncio.Transport, right: Right) -> None:
        self._relays[browser] = right

    def relay_ends(self, browser: asyncio.Transport) -> None:
        self._relays.pop(browser, None)

    def revoke(self, ended: Callable[[Right], bool]) -> None:
        """The right itself has ended: tunnels close, and answers and uploads break off where they are, however long they would go on."""
        self.close_where(ended)
        for browser, right in list(self._relays.items()):
            if ended(right):
                browser.abort()
