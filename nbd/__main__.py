"""`nbd core | web | sync | dev`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from . import __version__
from .config import Config, override, read
from .errors import NbdError
from .places import SYSTEM, Places, under


def main() -> None:
    args = arguments().parse_args()
    try:
        with asyncio.Runner(loop_factory=event_loop(args.program)) as runner:
            runner.run(until_told(program(args)))
    except NbdError as error:
        print(f"nbd: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)
    if args.program == "sync":
        leave()


def leave() -> NoReturn:
    """obstore's threads reach for the interpreter once more after their last answer; one that is on its way out then aborts (seen 1 time in 30)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def event_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The proxy's loop is the one that has much to do; the others keep Python's own."""
    if name != "web":
        return None
    import uvloop

    return uvloop.new_event_loop


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nbd", description="a single-node notebook daemon")
    parser.add_argument("--version", action="version", version=f"nbd {__version__}")
    programs = parser.add_subparsers(dest="program", required=True)
    for name, text in (("core", "the truth: notebooks, GPUs, people"), ("web", "the pages and the proxy"), ("sync", "homes")):
        child = programs.add_parser(name, help=text)
        child.add_argument("--dir", type=Path, help="keep everything under this folder (default: the system's places)")
        child.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one setting, its value as in the file")
    programs.choices["web"].add_argument("--listening", type=int, metavar="FD", help="a socket that listens already, handed on by who started this")
    from . import dev

    dev.add_arguments(programs.add_parser("dev", help="all three in this terminal, everything under one folder"))
    return parser


def program(args: argparse.Namespace) -> Callable[[asyncio.Event], Awaitable[None]]:
    """The program asked for; each imports only what it needs."""
    if args.program == "dev":
        from . import dev

        asked = dev.wish(args)
        return lambda stop: dev.run(asked, stop)
    places = under(args.dir.absolute()) if args.dir else SYSTEM
    config = configured(places, args.set)
    if args.program == "web":
        return run_web(config, places, args.listening)
    return {"core": run_core, "sync": run_sync}[args.program](config, places)


def run_core(config: Config, places: Places) -> Callable[[asyncio.Event], Awaitable[None]]:
    from . import core

    return lambda stop: core.run(config, places, stop)


def run_sync(config: Config, places: Places) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Its rights go first, before all that reads what people wrote is even imported."""
    from .host import privileges

    privileges.make(places.state, None)
    own, store = [places.sync_state, places.sync_run], Path(config.homes.store or "")
    privileges.settle(config.homes.user, [*own, store] if store.is_absolute() and not store.exists() else own)
    from . import syncer

    return lambda stop: syncer.run(config, places, stop)


def run_web(config: Config, places: Places, handed: int | None) -> Callable[[asyncio.Event], Awaitable[None]]:
    from . import webdoor
    from .host import systemd
    from .web.settings import DoorSettings

    settings = DoorSettings(places.socket, config.web.listen, config.web.domain)
    descriptors = [handed] if handed is not None else systemd.handed_sockets()
    listening = socket.socket(fileno=descriptors[0]) if descriptors else None
    return lambda stop: webdoor.run(settings, stop, listening)


def configured(places: Places, assignments: list[str]) -> Config:
    config = read(places.config)
    for assignment in assignments:
        config = override(config, assignment)
    return config


async def until_told(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until SIGTERM or SIGINT; both ask kindly."""
    from .host import systemd
    from .host.limits import raise_open_files

    raise_open_files()
    logging.basicConfig(level=logging.INFO, handlers=[systemd.log_handler()])
    stop = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stop.set)
    await run(stop)


if __name__ == "__main__":
    main()
