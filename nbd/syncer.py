"""`nbd sync`: homes. Its own program, so that it needs no more than reading what people own; core asks it over its socket.

Today it sees that a home is there and the person's own before a notebook starts in it.
"""

from __future__ import annotations

import asyncio
import logging
import os

from .api.routes import Ask, Route, Who
from .api.server import Server, listening_socket
from .errors import Refused
from .homes.keeper import Keeper
from .homes.model import HomeReady, HomeRequest
from .host import systemd
from .host.homefolder import DescriptorFolders
from .people.model import Person
from .places import Places

log = logging.getLogger(__name__)


async def run(places: Places, stop: asyncio.Event) -> None:
    keeper = Keeper(DescriptorFolders())

    async def ready(ask: Ask) -> HomeReady:
        request: HomeRequest = ask.body
        return await keeper.ready(request)

    route = Route("POST", "/v1/homes/ready", "Make a home ready for a notebook", HomeReady, ready, body=HomeRequest, who=Who.DOOR)
    server = Server([route], only_core)
    places.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    await server.listen(listening_socket(places.sync_socket, None, 0o600))
    systemd.notify("READY=1")
    log.info("sync serves at %s", places.sync_socket)
    try:
        await stop.wait()
    finally:
        await server.close()


async def only_core(uid: int, token: str | None, who: Who) -> Person:
    """Core runs as root, or in `nbd dev` as whoever runs both."""
    if uid not in (0, os.geteuid()):
        raise Refused("only core may ask this")
    return Person("(core)", uid, 0, "/")
