"""`nbd sync`: homes. Its own program, so that it needs no more than reading what people own; core asks it over its sockets.

It sees that a home is there and the person's own before a notebook starts in it, keeps snapshots of the homes in use, and reads from them. It
writes into no home: what is restored is streamed to a child that is the person (host/restore_child.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket as sockets
import time
from contextlib import suppress

from .api.attacheddesk import AttachedDesk
from .api.carewindow import CareWindow
from .api.homewindow import HomeWindow
from .api.routes import Ask, Route, Who
from .api.server import Server, listening_socket
from .api.storage import StoreWindow
from .config import AttachedSettings, Config, HomeSettings
from .errors import Refused
from .homes.attached.carrier import Means as AttachedMeans
from .homes.attached.service import AttachedData
from .homes.insight import Insight
from .homes.keeper import Keeper
from .homes.keeping.caretaker import Care, Caretaker
from .homes.keeping.duties import Rhythm
from .homes.keeping.guardian import Means
from .homes.model import HomeReady, HomeRequest
from .homes.offline.publisher import PAUSE_SECONDS, Publisher
from .homes.ports import Timetable
from .homes.sizes.room import Policy
from .homes.sizes.surveyor import Surveyor, Tools
from .homes.snapshots import retention
from .homes.snapshots.snapshotter import Request
from .homes.steward import Steward
from .homes.wishes import CompareWish, FlushWish, InUse, LookWish, ReadyWish
from .host import memory, privileges, systemd
from .host.attachedhall import AttachedHall
from .host.attachedshelf import ShelfFolder
from .host.fanevents import FanotifySource
from .host.groupdoor import GroupDoor
from .host.homefolder import DescriptorFolders
from .host.homenotes import NoteFiles
from .host.homesizes import DescriptorSizes
from .host.hometree import DescriptorHomes
from .host.ignores import IgnoreRules
from .host.inotify import InotifySource
from .host.restoredoor import RestoreDoor
from .host.timetable import Scheduler
from .host.vaults import open_vault
from .messages import DifferenceView, EntryView, HomeView, SnapshotView
from .people.model import Person
from .places import Places

log = logging.getLogger(__name__)


class Desk:
    """What core may ask, as routes."""

    def __init__(self, keeper: Keeper, steward: Steward, surveyor: Surveyor, insight: Insight, events: FanotifySource) -> None:
        self._keeper, self._steward, self._surveyor, self._insight = keeper, steward, surveyor, insight
        self._events = events

    def routes(self) -> list[Route]:
        def route(path: str, summary: str, answer: object, handler: object, body: object) -> Route:
            return Route("POST", f"/v1/homes/{path}", summary, answer, handler, body=body, who=Who.DOOR)  # type: ignore[arg-type]

        return [
            route("ready", "Make a home ready for a notebook", HomeReady, self.ready, ReadyWish),
            route("accept", "It is as it should be, empty or half", dict[str, str], self.accept, HomeRequest),
            route("watch", "Exactly these homes are in use", dict[str, str], self.watch, InUse),
            route("flush", "A snapshot of what is there now", HomeView, self.flush, FlushWish),
            route("status", "How a home is kept", HomeView, self.status, HomeRequest),
            route("snapshots", "Its snapshots, newest first", tuple[SnapshotView, ...], self.snapshots, HomeRequest),
            route("ls", "What is in a folder of a snapshot", tuple[EntryView, ...], self.entries, LookWish),
            route("diff", "What differs between two", tuple[DifferenceView, ...], self.differences, CompareWish),
        ]

    async def ready(self, ask: Ask) -> HomeReady:
        wish: ReadyWish = ask.body
        ready = await self._steward.ready(wish.home, in_use=wish.in_use)
        await self._surveyor.admit(wish.home)
        return ready

    async def accept(self, ask: Ask) -> dict[str, str]:
        await self._keeper.ledger.accept(ask.body)
        return {}

    async def watch(self, ask: Ask) -> dict[str, str]:
        body: InUse = ask.body
        self._events.said(body.events.group, body.events.refused)
        await self._steward.watch(body.homes)
        self._surveyor.in_use(body.homes)
        return {"group": self._events.group}

    async def flush(self, ask: Ask) -> HomeView:
        wish: FlushWish = ask.body
        return await self._steward.flush(wish.home, Request(wish.event, wish.name, confirmed=wish.confirmed))

    async def status(self, ask: Ask) -> HomeView:
        return await self._insight.with_room(ask.body, await self._steward.status(ask.body))

    async def snapshots(self, ask: Ask) -> list[SnapshotView]:
        return await self._steward.snapshots(ask.body)

    async def entries(self, ask: Ask) -> list[EntryView]:
        wish: LookWish = ask.body
        return await self._steward.entries(wish.home, wish.snapshot, wish.path)

    async def differences(self, ask: Ask) -> list[DifferenceView]:
        wish: CompareWish = ask.body
        return await self._steward.differences(wish.home, wish.before, wish.after)


async def run(config: Config, places: Places, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises NbdError when its store or key is not fit to begin with."""
    memory.keep_buffers()
    for folder in (places.sync_state, places.sync_run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = config.homes
    vault, stores, shelf, rotation = open_vault(settings, places.sync_state)
    events = FanotifySource()
    sources = {"auto": (events, InotifySource()), "inotify": (InotifySource(),), "none": ()}[settings.events]
    means = Means(vault, DescriptorHomes(), IgnoreRules, time.time_ns, settings.look_every, settings.prove_every, sources)
    notes = NoteFiles(places.sync_state / "homes")
    keeper = Keeper(means, notes, DescriptorFolders())
    steward = Steward(means, keeper, protect=settings.protect)
    policy = Policy(settings.quota or 0, dict(settings.quotas), settings.over_quota == "refuse")
    surveyor = Surveyor(Tools(DescriptorSizes(), means.homes, IgnoreRules, policy, means.wall, settings.measure_every))
    insight = Insight(vault, means.homes, surveyor, settings.tariff or "")
    attached = attached_of(config.attached, places)
    desk, offers = Desk(keeper, steward, surveyor, insight, events), GroupDoor(events.take)
    caretaker = Caretaker(means, notes, keeper, care_of(settings), steward.calm)
    timetable: Timetable = Scheduler()
    windows = [*HomeWindow(insight).routes(), *CareWindow(caretaker, steward, stores.counts).routes(), *AttachedDesk(attached).routes()]
    windows += StoreWindow(vault.where, shelf, rotation, stores.counts).routes()
    server, restores = Server([*desk.routes(), *windows], only_core), RestoreDoor(steward, AttachedHall(attached))
    questions, streams, handing = sockets_of(places)
    offers.listen(handing)
    await restores.listen(streams)
    await server.listen(questions)
    attached.begin()
    await steward.begin()
    timetable.every(caretaker.pause, caretaker.tick)
    timetable.every(memory.GIVE_BACK_SECONDS, memory.give_back)
    publisher = Publisher(vault.outbox, time.monotonic) if vault.outbox else None
    if publisher:
        timetable.every(PAUSE_SECONDS, publisher.tick)
    systemd.notify("READY=1")
    log.info("%s", privileges.sentence(privileges.held()))
    log.info("sync serves at %s; snapshots are kept at %s", places.sync_socket, vault.where)
    try:
        await told_to(stop)
    finally:
        await timetable.close()
        if publisher:
            await publisher.close()
        await server.close()
        await restores.close()
        await offers.close()
        await surveyor.close()
        await attached.close()
        await steward.close()
        await events.close()


def attached_of(settings: AttachedSettings, places: Places) -> AttachedData:
    shelf = ShelfFolder(places.sync_state / "attached", settings.endpoint or "")
    means = AttachedMeans(shelf, DescriptorHomes(), DescriptorFolders(), time.time_ns, platform.node(), settings.look_every, settings.most)
    return AttachedData(means)


def care_of(settings: HomeSettings) -> Care:
    recent = int(settings.keep_recent * 1e9)
    policy = retention.Policy(recent, settings.keep_hourly, settings.keep_daily, settings.keep_weekly, settings.keep_monthly)
    return Care(policy, Rhythm(settings.prune_every, settings.drill_all_every, settings.drill_every))


def sockets_of(places: Places) -> tuple[sockets.socket, ...]:
    """Core's questions, restores, and the queue of events. Those that systemd made and keeps over a restart, in the order of nbd-sync.socket;
    else our own."""
    handed = tuple(sockets.socket(fileno=number) for number in systemd.handed_sockets())
    return handed or tuple(listening_socket(path, None, 0o600) for path in (places.sync_socket, places.restore_socket, places.events_socket))


async def told_to(stop: asyncio.Event) -> None:
    """Returns when `stop` is set; meanwhile systemd's watchdog hears that the loop turns."""
    while not stop.is_set():
        systemd.notify("WATCHDOG=1")
        with suppress(TimeoutError):
            async with asyncio.timeout((systemd.watchdog_seconds() or 1e9) / 2):
                await stop.wait()


async def only_core(uid: int, token: str | None, who: Who) -> Person:
    """Core runs as root, or in `nbd dev` as whoever runs both."""
    if uid not in (0, os.geteuid()):
        raise Refused("only core may ask this")
    return Person("(core)", uid, 0, "/")
