"""`nbd dev`: the three programs as children of one terminal, everything under one folder. Ctrl-C ends the programs, never a notebook."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import difflib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .config import Config, override, read
from .errors import Conflict, HostUnfit, InvalidInput, Unreachable
from .homes.stores import layout
from .host import unixhttp
from .host.children import Child, Program, run_once
from .host.folders import RunFolders
from .host.lock import take_lock
from .host.simulated import simulate
from .host.simulated.cuda import SimulatedCuda, compile_cuda
from .places import Places, under
from .values import address

log = logging.getLogger(__name__)
UP_SECONDS = 30.0
SYNC_SECONDS = 5.0
MOST_SIMULATED = 64
CDI_FOLDER = Path("/var/run/cdi")
"""The one place besides /etc/cdi where every Podman looks."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    folder: Path
    listen: str | None
    simulate_gpus: int
    start: str | None
    stop: bool
    store: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", type=Path, default=Path(".nbd"), help="everything is kept here (default: .nbd)")
    parser.add_argument("--listen", metavar="ADDR:PORT", help="where the pages are (default: 127.0.0.1:8686)")
    parser.add_argument("--simulate-gpus", type=int, default=0, metavar="N", help="play N GPUs; nothing can be computed on them")
    parser.add_argument("--start", nargs="?", const="main", metavar="NAME", help="start this notebook (default: main) and print where it is")
    parser.add_argument("--store", metavar="URL", help="where snapshots of homes are: a folder, s3://bucket/prefix (default: DIR/state/sync/store)")
    parser.add_argument("--stop", action="store_true", help="end everything that runs from this folder, notebooks too")


def wish(args: argparse.Namespace) -> Wish:
    """Raises InvalidInput."""
    if args.listen is not None:
        try:
            address(args.listen)
        except ValueError as error:
            raise InvalidInput(f"--listen {args.listen[:80]}: {error}") from None
    if not 0 <= args.simulate_gpus <= MOST_SIMULATED:
        raise InvalidInput(f"--simulate-gpus {args.simulate_gpus}: must be 0 to {MOST_SIMULATED}")
    store = None if args.store is None else stored_at(args.store)
    return Wish(args.dir.absolute(), args.listen, args.simulate_gpus, args.start, args.stop, store)


async def run(asked: Wish, stop: asyncio.Event) -> None:
    require_root(os.geteuid())
    make(asked.folder)
    places = under(asked.folder)
    settings = [f'web.listen="{asked.listen}"'] if asked.listen else []
    settings += [f'homes.store="{asked.store}"'] if asked.store else []
    if asked.stop:
        await stop_everything(asked, places, settings)
        return
    config = configured(places, settings)
    async with contextlib.AsyncExitStack() as children:
        children.callback(os.close, take_lock(lock_file(places)))
        # A path too long for the notebooks' sockets is said before anything is started there.
        RunFolders(places.run, os.getegid()).set_up()
        settings += simulated_gpus(asked, children)
        coming_up = asyncio.create_task(come_up(children, asked, config, settings))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((coming_up, stopping), return_when=asyncio.FIRST_COMPLETED)
        if coming_up.done():
            await coming_up
        await cancelled(coming_up)
        await stopping
        print("\nThe programs end; notebooks go on. Back to them: make run. To end them too: make stop.", flush=True)


def stored_at(store: str) -> str:
    """A folder is named from where the command was given, not from where the programs run. Raises InvalidInput for what may be either, and would
    become a folder of that name: homes would be kept in it, and nowhere else."""
    if store.startswith(("/", "./", "../")) or store in (".", ".."):
        return str(Path(store).absolute())
    if store.partition("://")[0] in layout.SCHEMES:
        layout.parse(store)
        return store
    scheme, _, rest = store.partition(":")
    near = difflib.get_close_matches(scheme.lower(), layout.SCHEMES, 1, 0.5) if ":" in store else []
    meant = f"{near[0]}://{rest.lstrip('/')}" if near else f"./{store}" if store and ":" not in store else ""
    hint = f"did you mean {meant}?" if meant else f"/a/folder, {layout.SHAPES}"
    raise InvalidInput(f"--store {store[:80]} is neither a folder nor a bucket", hint=hint)


def require_root(uid: int) -> None:
    """Raises HostUnfit. Without it nbd would come up and then be unable to start a single notebook."""
    if uid != 0:
        raise HostUnfit("nbd makes containers, networks and firewall rules: it needs root", hint="run it with sudo, or: make run", code="not_root")


def make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise HostUnfit(f"--dir {folder} cannot be made: {error.strerror or error}", hint="choose another folder", code="bad_dir") from None


async def come_up(children: contextlib.AsyncExitStack, asked: Wish, config: Config, settings: list[str]) -> None:
    places = under(asked.folder)
    settings = [*settings, *await podman(children, config, places)]
    door = listening_on(config.web.listen)
    # Held here, so that who comes while the web program is started again waits a moment instead of being turned away.
    children.callback(door.close)
    programs = [await keep(children, program(name, asked.folder, settings)) for name in ("sync", "core")]
    web = program("web", asked.folder, settings)
    await keep(children, Program(web.name, (*web.argv, "--listening", str(door.fileno())), (door.fileno(),)))
    await programs_answer(places, programs)
    print(banner(config, asked), flush=True)
    if asked.start:
        await first_notebook(asked.start, places)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def configured(places: Places, settings: Sequence[str]) -> Config:
    config = read(places.config)
    for assignment in settings:
        config = override(config, assignment)
    return config


def program(name: str, folder: Path, settings: Sequence[str]) -> Program:
    assignments = [word for assignment in settings for word in ("--set", assignment)]
    return Program(f"nbd {name}", (sys.executable, "-m", "nbd", name, "--dir", str(folder), *assignments))


async def keep(children: contextlib.AsyncExitStack, wanted: Program) -> Child:
    child = Child(wanted)
    await child.start()
    children.push_async_callback(child.stop)
    return child


async def podman(children: contextlib.AsyncExitStack, config: Config, places: Places) -> list[str]:
    """The box's own Podman service where it answers; else one of ours, and the setting that says where it is."""
    if await answers(config.core.podman_socket):
        return []
    if shutil.which("podman") is None:
        raise HostUnfit("Podman is not installed", hint="install it: apt-get install podman crun netavark catatonit")
    places.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = places.run / "podman.sock"
    path.unlink(missing_ok=True)
    await keep(children, Program("podman", ("podman", "system", "service", "--time", "0", f"unix://{path}")))
    async with deadline("Podman's service"):
        while not await answers(str(path)):
            await asyncio.sleep(0.02)
    return [f'core.podman_socket="{path}"']


async def answers(socket_path: str, question: str = "/_ping") -> bool:
    try:
        async with asyncio.timeout(2):
            return (await unixhttp.ask(socket_path, "GET", question)).status == 200
    except (OSError, TimeoutError, Unreachable):
        return False


async def programs_answer(places: Places, programs: Sequence[Child]) -> None:
    """Both that a start needs: a notebook asked for right after the banner must not fail because sync came up a moment later."""
    async with deadline("core and sync"):
        while not (await answers(str(places.socket), "/v1/status") and await listens(places.sync_socket)):
            if unfit := [child.name for child in programs if child.refused]:
                raise HostUnfit(f"{unfit[0]} cannot run here", hint="it says why above", code="not_up")
            await asyncio.sleep(0.02)


async def listens(socket_path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        return False
    writer.close()
    return True


@contextlib.asynccontextmanager
async def deadline(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(UP_SECONDS):
            yield
    except TimeoutError:
        raise Unreachable(f"{what} did not come up within {UP_SECONDS:g} s", hint="its messages are above") from None


async def first_notebook(name: str, places: Places) -> None:
    """What a newcomer would do by hand: build the image when it is not there, start a notebook as who called us, print where it is."""
    nbctl = (sys.executable, "-m", "nbd.cli.nbctl", "--socket", str(places.socket))
    images = json.loads((await unixhttp.ask(str(places.socket), "GET", "/v1/images")).body)
    if not any(image["name"] == "jupyter" and image["present"] for image in images):
        print("The notebook image is not on this box yet; it is built now.", flush=True)
        if await run_once((*nbctl, "image", "build", "jupyter"), None, None) != 0:
            return
    uid, gid = caller()
    if await run_once((*nbctl, "start", name), uid, gid) == 0:
        print("Open it here (the link works once, for a minute; a new one: nbctl open):", flush=True)
        await run_once((*nbctl, "open", name), uid, gid)


def caller() -> tuple[int | None, int | None]:
    """Who called sudo; nobody else than ourselves without it."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    return (int(uid), int(gid)) if uid.isdigit() and gid.isdigit() and os.geteuid() == 0 else (None, None)


def banner(config: Config, asked: Wish) -> str:
    host, _, port = config.web.listen.rpartition(":")
    lines = [
        f"nbd is up: http://{config.web.domain}:{port}/  (sign in with: nbctl login)",
        f"nbctl finds it by: export NBD_SOCKET={under(asked.folder).socket}",
    ]
    if host not in ("127.0.0.1", "localhost", "[::1]"):
        lines.append(f"It listens on {config.web.listen} without TLS: for a network you trust.")
    if asked.simulate_gpus:
        cards, them = ("1 card that exists", "it") if asked.simulate_gpus == 1 else (f"{asked.simulate_gpus} cards that exist", "them")
        lines.append(f"SIMULATED GPUs: {cards} only in a file; nothing computes on {them}.")
    return "\n".join(lines)


def listening_on(listen: str) -> socket.socket:
    """A port that is taken is said now, in a sentence, not by a child that keeps dying."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(where)
        door.listen(512)
        return door
    except OSError as error:
        message = f"cannot listen on {listen}: {error.strerror or error}"
        raise HostUnfit(message, code="address_in_use", hint="is nbd running already? else choose another: --listen 127.0.0.1:9000") from None


def simulated_gpus(asked: Wish, children: contextlib.AsyncExitStack) -> list[str]:
    """The settings by which core finds them. Podman reads the specification when a container is made, so those that run do not need it."""
    if not asked.simulate_gpus:
        return []
    folder = asked.folder / "simulated"
    folder.mkdir(exist_ok=True)
    cards, box = simulate.default_cards(asked.simulate_gpus, seed(asked)), folder / "gpus.txt"
    library = simulate.compile_library(folder)
    compile_cuda(folder)
    SimulatedCuda(box.with_suffix(".cuda"))
    if not box.exists() or any(card.uuid not in box.read_text() for card in cards):
        simulate.write_cards(box, *cards)
    specification = simulate.write_cdi(simulate.cdi_file(CDI_FOLDER, seed(asked)), cards)
    children.callback(specification.unlink, missing_ok=True)
    return [f'gpus.library_folder="{library.parent}"', f'gpus.simulated_box="{box}"']


def seed(asked: Wish) -> int:
    """Tells this folder's simulated cards from another's on the same box."""
    return zlib.crc32(str(asked.folder).encode()) & 0xFFFF


async def stop_everything(asked: Wish, places: Places, settings: Sequence[str]) -> None:
    """The programs first, through their lock's owner; then every notebook, as its owner would: with time to save."""
    from . import core  # Here, because every program has these words in its parser, and only this one needs all of core.

    await end_programs(places)
    async with contextlib.AsyncExitStack() as children:
        config = configured(places, [*settings, *simulated_gpus(asked, children)])
        for assignment in await podman(children, config, places):
            config = override(config, assignment)
        await sync_for_the_stop(children, asked, places, settings)
        stopped = await core.stop_all(config, places)
    print("Nothing runs any more" + (f"; stopped: {', '.join(stopped)}." if stopped else "."), flush=True)


async def sync_for_the_stop(children: contextlib.AsyncExitStack, asked: Wish, places: Places, settings: Sequence[str]) -> None:
    """So that the end of each notebook is a snapshot. Where it cannot run, notebooks stop all the same."""
    places.sync_socket.unlink(missing_ok=True)
    await keep(children, program("sync", asked.folder, settings))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SYNC_SECONDS):
            while not await listens(places.sync_socket):
                await asyncio.sleep(0.02)


async def end_programs(places: Places) -> None:
    """Tell the `nbd dev` that runs from this folder to end, and return when it has."""
    file = lock_file(places)
    told = False
    async with deadline("the end of nbd dev"):
        while True:
            try:
                os.close(take_lock(file))
                return
            except Conflict:
                pid = file.read_text().strip()
            if pid.isdigit() and not told:
                told = True
                os.kill(int(pid), signal.SIGTERM)
            await asyncio.sleep(0.05)


def lock_file(places: Places) -> Path:
    places.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    return places.run / "dev.lock"
