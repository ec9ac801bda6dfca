"""`nbd core`: the truth. Builds its parts, runs them, stops them in order, each within a bound.

Order of a start: the state, then what runs is looked at and adopted, then the API opens. Order of a stop: nobody new gets in, the work is
laid down (not undone: notebooks stay as they are), the parts close.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket as sockets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .api.attached import AttachedRoutes
from .api.door import DoorRoutes, Gatekeeper
from .api.homecare import HomeCareRoutes
from .api.homes import HomeRoutes
from .api.idle import IdleRoutes
from .api.machine import Health, MachineRoutes, Site
from .api.metrics import MetricsRoutes
from .api.notebooks import NotebookRoutes, Showcase
from .api.openapi import document
from .api.routes import Ask, Route
from .api.server import Server, listening_socket
from .api.storage import StorageRoutes
from .config import Config
from .coreidle import Household, Idle, Machine, build_idle, freezer_of
from .editors import EDITORS
from .errors import Conflict, Deadline, NbdError
from .gpus.names import CardNames
from .gpus.pool import Pool
from .host import systemd
from .host.accounts import SystemAccounts, account_ids, group_id
from .host.attachedclient import SyncAttachments
from .host.cdi import CdiSpecs
from .host.containers import PodmanContainers
from .host.database import Database, open_database
from .host.editor import UnixEditor
from .host.eventgroup import EventGroup
from .host.folders import RunFolders
from .host.images import PodmanImages
from .host.limits import host_limits
from .host.lock import take_lock
from .host.logs import FileLogs
from .host.metrics import exposition
from .host.networks import PodmanNetworks
from .host.nvml import Deadlines, NvmlCards
from .host.podman import Podman
from .host.processes import KernelProcesses
from .host.profilefolder import ProfileFolder
from .host.syncclient import SyncHomes
from .notebooks.attach import Ground
from .notebooks.attacher import Attacher
from .notebooks.homenews import HomeNews
from .notebooks.images import Images
from .notebooks.lives import Hands, Lives, Rules
from .notebooks.manager import Manager
from .notebooks.model import LIVE, Occupant, Want
from .notebooks.protector import Protector
from .notebooks.roster import Roster
from .notebooks.starter import Clocks, House, Parts, Starter
from .notebooks.stopper import Stopper
from .notebooks.tasks import Tasks
from .people.register import Lifetimes, Register
from .places import Places

log = logging.getLogger(__name__)
CLOSE_SECONDS = 5.0
REST_SECONDS = 120.0
LOOK_AGAIN_SECONDS = 0.1
MOST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that have to be run and closed."""

    database: Database
    podman: Podman
    networks: PodmanNetworks
    cards: NvmlCards
    names: CardNames
    register: Register
    roster: Roster
    manager: Manager
    idle: Idle
    server: Server


async def run(config: Config, places: Places, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises NbdError when this box or its configuration does not allow it."""
    prepare(places)
    lock = take_lock(places.state / "lock")
    try:
        core = build(config, places, open_database(places.state / "state.db"))
        await core.register.load()
        await core.roster.load()
        try:
            await serve(core, config, places, stop)
        finally:
            await close(core)
    finally:
        os.close(lock)


async def stop_all(config: Config, places: Places) -> tuple[str, ...]:
    """Stop every notebook of this state as its owner would, with time to save, while no core runs. Returns whose; removes nbd's rules."""
    prepare(places)
    lock = take_lock(places.state / "lock")
    core = build(config, places, open_database(places.state / "state.db"))
    try:
        await core.roster.load()
        await core.manager.reconcile()
        wanted = [row for row in core.roster.all() if row.want is Want.RUNNING]
        for row in wanted:
            # Not after it has settled: one that stands in line for a card would not, while the others have them all.
            await core.manager.stop(row.id, "admin")
        await until_at_rest(core)
        await core.networks.take_down()
        return tuple(row.title for row in wanted)
    finally:
        await close(core)
        os.close(lock)


async def until_at_rest(core: Core) -> None:
    """Look again until there is nothing left to do: what could not be removed at once is due again. Raises Deadline."""
    try:
        async with asyncio.timeout(REST_SECONDS):
            while not await at_rest(core):
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
    except TimeoutError:
        left = ", ".join(row.title for row in core.roster.all() if row.state in LIVE)
        raise Deadline(f"not everything ended within {REST_SECONDS:g} s: {left}", hint="try again; or see: podman ps -a") from None


async def at_rest(core: Core) -> bool:
    for row in core.roster.all():
        await core.manager.settled(row.id)
    return not await core.manager.reconcile() and not any(row.state in LIVE for row in core.roster.all())


async def serve(core: Core, config: Config, places: Places, stop: asyncio.Event) -> None:
    looking = asyncio.create_task(look_again_and_again(core, config.core.reconcile_every, stop), name="reconcile")
    watching = asyncio.create_task(core.idle.monitor.run(lambda: config.idle.sample_every), name="idle")
    sock = inherited_socket() or listening_socket(places.socket, wanted_group(config), 0o660 if config.core.socket_group else 0o666)
    await core.server.listen(sock)
    systemd.notify("READY=1")
    log.info("core serves at %s", places.socket)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
    systemd.notify("STOPPING=1")
    for task in (looking, stopping, watching):
        task.cancel()
    results = await asyncio.gather(looking, stopping, watching, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


async def look_again_and_again(core: Core, every_seconds: float, stop: asyncio.Event) -> None:
    """The clock of core: reconcile, and the small duties of now and then. The watchdog hears of it only when all of it moved."""
    wait = every_seconds
    while not stop.is_set():
        wait = every_seconds if await looked(core) else min(wait * 2, MOST_BACKOFF_SECONDS)
        systemd.notify("WATCHDOG=1")
        try:
            async with asyncio.timeout(min(wait, (systemd.watchdog_seconds() or 1e9) / 2)):
                await stop.wait()
        except TimeoutError:
            continue


async def looked(core: Core) -> bool:
    """Whether one look went through. Nothing that goes wrong in it ends core: everybody's door depends on it, and the next may go well."""
    well = True
    for duty in (core.manager.reconcile, core.idle.resting.look, core.idle.sweep, core.idle.schedule.tick, core.register.expire, core.names.refresh):
        try:
            await duty()
        except NbdError as error:
            log.warning("a look at what runs was cut short: %s", error)
        except Exception:  # the clock's last door: the journal gets the traceback
            log.exception("a look at what runs met a defect")
        else:
            continue
        well = False
    return well


async def close(core: Core) -> None:
    """In order, each bounded: a part that does not end must not keep the next from ending well."""
    core.roster.changes.close()
    core.register.changes.close()
    ends: Mapping[str, Callable[[], Awaitable[None]]] = {
        "the API": core.server.close,
        "the work on notebooks": core.manager.close,
        "the word on who is idle": core.idle.close,
        "the driver's helper": core.cards.close,
        "Podman's door": core.podman.close,
        "the state": core.database.close,
    }
    for what, end in ends.items():
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await end()
        except TimeoutError:
            log.warning("%s did not end within %g s", what, CLOSE_SECONDS)


def build(config: Config, places: Places, database: Database) -> Core:
    clocks = Clocks(time.time, time.monotonic)
    instance, own = str(places.state.resolve()), own_folders(places)
    podman = Podman(config.core.podman_socket, config.core.podman_timeout)
    accounts, processes = SystemAccounts(), KernelProcesses()
    web_uid, web_gid = account_ids(config.web.user)
    folders = RunFolders(places.run, web_gid)
    folders.set_up()
    cards = cards_of(config)
    pool = Pool(cards, database, CdiSpecs([Path(folder) for folder in config.gpus.cdi_folders]), time.time)
    logs, names, roster, news = FileLogs(places.state / "logs"), CardNames(cards), Roster(database), HomeNews(time.time)
    shelf = ProfileFolder(places.profiles)
    containers = PodmanContainers(podman, processes, instance)
    events = EventGroup(places.events_socket, wanted=config.homes.protect and config.homes.events == "auto")
    networks, homes = PodmanNetworks(podman, instance), SyncHomes(places.sync_socket, places.restore_socket, events)
    store, ground = PodmanImages(places.images, config.core.image_prefix, EDITORS), ground_of(config, places)
    images, machine = Images(store), Machine(podman, processes, cards, pool)
    parts = Parts(
        containers, networks, processes, UnixEditor(), homes, folders, logs, accounts, pool, database, images, clocks, freezer_of(machine, places)
    )
    rules, limits = rules_of(config), host_limits()
    house = House(instance, config.core.image_prefix, limits, rules.ready_seconds, config.core.pull_images, own, store.recipes())
    attacher = Attacher(attachments := SyncAttachments(homes, ground), accounts, roster, ground)
    stopper = Stopper(parts, roster, config.gpus.release_within)
    hands = Hands(Starter(parts, roster, house, attacher), stopper, Tasks(), Protector(homes, accounts, roster, news), attacher)
    lives = Lives(parts, roster, hands, rules, shelf.profiles)
    manager = Manager(parts, roster, hands, lives, rules)
    idle = build_idle(config, places, machine, Household(parts, roster, hands, lives, manager), shelf.profiles)
    register = Register(accounts, database, Lifetimes(config.web.sign_in_lifetime, config.web.ticket_lifetime), time.time)
    origin = Origin(config)
    showcase = Showcase(roster, database, names, origin.of_notebook, news)
    site = Site(
        instance, platform.node(), time.time(), origin.pages, config.core.image_prefix,
        shelf.profiles, config.core.default_profile, limits, manager.reconcile,
    )  # fmt: skip
    checks = {"podman": podman.health, "network": networks.health, "profiles": shelf.health, "homes": homes.health}
    health = Health(checks | {"snapshots": news.health, "data": attacher.health, "idle": idle.looker.health}, processes.container_of, time.monotonic)
    routes = [
        *NotebookRoutes(manager, roster, showcase, register, logs).routes(),
        *MachineRoutes(pool, roster, images, site, health).routes(),
        *IdleRoutes(idle.desk, idle.resting, roster, showcase, register).routes(),
        *HomeRoutes(homes).routes(),
        *HomeCareRoutes(homes).routes(),
        *MetricsRoutes(news, exposition, time.time).routes(),
        *StorageRoutes(homes, config.homes.store).routes(),
        *AttachedRoutes(attachments, roster).routes(),
        *DoorRoutes(register, roster, showcase, folders.socket, origin.pages).routes(),
    ]
    server = Server([*routes, openapi_route(routes)], Gatekeeper(accounts, register, web_uid))
    return Core(database, podman, networks, cards, names, register, roster, manager, idle, server)


def own_folders(places: Places) -> tuple[str, ...]:
    """nbd's own, by each of their names."""
    return tuple(sorted({str(name) for folder in places.own for name in (folder, folder.resolve())}))


class Origin:
    """The addresses that people see: the pages' own, and one for each notebook."""

    def __init__(self, config: Config) -> None:
        self._domain, self._port = config.web.domain, config.web.listen.rpartition(":")[2]
        self.pages = f"http://{self._domain}:{self._port}/"

    def of_notebook(self, notebook: str) -> str:
        return f"http://{notebook}.{self._domain}:{self._port}/"


def rules_of(config: Config) -> Rules:
    core = config.core
    return Rules(core.default_profile, core.stop_grace, core.crash_limit, core.crash_window, core.ready_within)


def ground_of(config: Config, places: Places) -> Ground:
    """Who owns what all share is nobody, who owns nothing else here."""
    uid, gid = account_ids("nobody")
    folder = config.attached.folder or str(places.state.resolve() / "attached")
    return Ground(folder, Occupant("nobody", uid, gid, "/"), config.attached.people)


def cards_of(config: Config) -> NvmlCards:
    gpus = config.gpus
    return NvmlCards(
        library_folder=Path(gpus.library_folder) if gpus.library_folder else None,
        simulated_box=Path(gpus.simulated_box) if gpus.simulated_box else None,
        deadlines=Deadlines(call=gpus.nvml_timeout),
    )


def openapi_route(routes: list[Route]) -> Route:
    async def answer(ask: Ask) -> object:
        return document([*routes, itself])

    itself = Route("GET", "/v1/openapi.json", "This document", dict[str, str], answer)
    return itself


def prepare(places: Places) -> None:
    for folder, mode in ((places.state, 0o700), (places.state / "logs", 0o700), (places.run, 0o755)):
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        folder.chmod(mode)


def wanted_group(config: Config) -> int | None:
    name = config.core.socket_group
    gid = group_id(name) if name else None
    if name and gid is None:
        raise Conflict(f"there is no group {name!r} (core.socket_group)", hint=f"make it: groupadd --system {name}", code="bad_config")
    return gid


def inherited_socket() -> sockets.socket | None:
    """The socket that systemd made and keeps over a restart of core."""
    handed = systemd.handed_sockets()
    return sockets.socket(fileno=handed[0]) if handed else None
