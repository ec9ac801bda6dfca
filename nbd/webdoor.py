"""`nbd web`: the browser's door. Builds its parts, runs them, and ends them in order. A client of core; it holds no state that matters."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Collection
from contextlib import suppress

from aiohttp import http_parser, web

from .errors import HostUnfit
from .messages import DoorEvent, DoorKind
from .unixdoor import Place
from .web.corelink import CoreLink
from .web.door import Door
from .web.enter import Entrance
from .web.homepages import HomePages
from .web.idlepages import IdlePages
from .web.live import Live
from .web.notices import Notices
from .web.origins import Origins
from .web.pages import Pages
from .web.proxy import Proxy
from .web.reception import Reception
from .web.render import Renderer
from .web.restores import Restores
from .web.settings import DoorSettings
from .web.table import DoorTable, place_of
from .web.traffic import Traffic, tell_again_and_again
from .web.tunnel import Tunnels
from .web.upstream import Pool
from .web.visit import Router

TICK_SECONDS = 2.0
IDLE_CONNECTION_SECONDS = 75.0
"""Also the longest that a request's head may take to come."""
HEAD_LINE = 16 * 1024
HEAD_LINES = 128
BACKLOG = 512
log = logging.getLogger(__name__)


async def run(settings: DoorSettings, stop: asyncio.Event, listening: socket.socket | None = None) -> None:
    """Serve until `stop` is set. `listening`: a socket that listens already (systemd's), instead of the one in `settings`.

    Raises HostUnfit where this machine's aiohttp cannot be trusted with strangers' bytes.
    """
    require_c_parser()
    loop = asyncio.get_running_loop()
    listening = listening or listen_on(settings)
    origins = settings.origins(listening.getsockname()[1])
    table, tunnels, pool, core = DoorTable(loop.time), Tunnels(), Pool(loop), CoreLink(settings.core_socket)
    restores, traffic = Restores(core), Traffic(loop.time, table.parked)
    table.watch(Revoker(table, tunnels, pool).changed)
    table.watch(traffic.changed)
    door = wired(origins, table, core, (Proxy(pool, tunnels, origins.scheme, traffic), traffic), restores)
    server = web.Server(
        door.handle,
        handler_cancellation=True,
        access_log=None,
        # aiohttp logs a traceback for whatever a stranger sends; what is ours to know, the door logs itself.
        logger=logging.Logger("nbd.web.http", logging.CRITICAL),
        auto_decompress=False,
        keepalive_timeout=IDLE_CONNECTION_SECONDS,
        max_line_size=HEAD_LINE,
        max_field_size=HEAD_LINE,
        max_headers=HEAD_LINES,
    )
    following = asyncio.create_task(core.follow(table), name="follow core")
    sweeping = asyncio.create_task(sweep(table, tunnels, pool), name="sweep")
    counting = asyncio.create_task(tell_again_and_again(traffic, core, settings.tell_seconds), name="tell what passes")
    listener = await loop.create_server(server, sock=listening, backlog=BACKLOG)
    log.info("the door is at %s", origins.pages)
    try:
        await until(stop, following, sweeping, counting)
    finally:
        listener.close()
        tunnels.close_where(lambda right: True)
        server.pre_shutdown()
        await server.shutdown(settings.stop_seconds)
        for task in (following, sweeping, counting):
            task.cancel()
        await asyncio.gather(following, sweeping, counting, return_exceptions=True)
        pool.close()
        await restores.close()
        await core.close()


def wired(origins: Origins, table: DoorTable, core: CoreLink, way: tuple[Proxy, Traffic], restores: Restores) -> Door:
    render, (proxy, traffic) = Renderer(origins), way
    door = Door(origins, table, proxy, Reception(origins, core, render, traffic), time.time)
    entrance = Entrance(origins, table, core, render, time.time)
    pages, live = Pages(origins, table, core, render), Live(table)
    idle = IdlePages(core, render, pages.mine)
    door.pages = Router([*pages.routes(entrance, live), *HomePages(core, render, restores).routes(), *idle.routes()])
    door.at_notebooks = Router([*pages.notebook_routes(entrance, live), *Notices(origins.pages, table, core, render, traffic).routes()])
    return door


class Revoker:
    """Ends what a change took the right from: all that a sign-in that ended had open, connections to an editor that went."""

    def __init__(self, table: DoorTable, tunnels: Tunnels, pool: Pool) -> None:
        self._table = table
        self._tunnels = tunnels
        self._pool = pool
        self._places: dict[str, Place] = {}

    def changed(self, events: Collection[DoorEvent]) -> None:
        for event in events:
            if event.kind is DoorKind.SIGN_OUT:
                self._end_sign_in(event.key)
            elif event.kind is DoorKind.NOTEBOOK and event.notebook is not None:
                self._moved(event.notebook.id, place_of(event))
            elif event.kind is DoorKind.NOTEBOOK_GONE:
                self._moved(event.key, None)

    def _end_sign_in(self, key: str) -> None:
        self._tunnels.revoke(lambda right: right.sign_in == key)

    def _moved(self, id: str, place: Place | None) -> None:
        before = self._places.pop(id, None)
        if place is not None:
            self._places[id] = place
        if before is not None and before != place:
            self._pool.forget(before)
            self._tunnels.close_where(lambda right: right.notebook == id)


async def sweep(table: DoorTable, tunnels: Tunnels, pool: Pool) -> None:
    """What ends by time alone: sign-ins that expired, connections that rested too long."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        now = time.time()
        late = {key for key, sign_in in table.sign_ins.items() if sign_in.expires <= now}
        tunnels.revoke(lambda right, late=late: right.sign_in in late)  # type: ignore[misc]
        pool.sweep()


async def until(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Until `stop` is set, or one of the tasks that must run for ever breaks; then its error is raised."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    for task in done - {waiting}:
        task.result()


def listen_on(settings: DoorSettings) -> socket.socket:
    """Raises HostUnfit where the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        what = f"cannot listen on {settings.listen}: {error.strerror}"
        raise HostUnfit(what, hint="set [web] listen to a free address", code="no_address") from error
    return listening


def require_c_parser() -> None:
    """The pure-Python parser of aiohttp had most of its request-smuggling bugs; the door does not open on it."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise HostUnfit(
            "aiohttp runs without its C parser, and the web door does not start on the other one",
            hint="unset AIOHTTP_NO_EXTENSIONS, or reinstall aiohttp from a wheel that has it",
            code="no_c_parser",
        )
