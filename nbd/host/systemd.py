"""systemd's side of a service: READY, STOPPING, the watchdog, sockets handed over, the journal. All of it nothing where there is no systemd."""

from __future__ import annotations

import logging
import os
import sys

try:
    from systemd import daemon, journal
except ImportError:  # not installed in every virtualenv: the bindings need systemd's headers to build
    daemon = journal = None


def notify(state: str) -> None:
    """ "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=…"."""
    if daemon is not None:
        daemon.notify(state)


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear of us; None when it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdigit() and daemon is not None else None


def handed_sockets() -> list[int]:
    return list(daemon.listen_fds()) if daemon is not None else []


def log_handler() -> logging.Handler:
    """To the journal with our fields (NBD_NOTEBOOK, NBD_USER, NBD_EVENT) when stderr is its stream, else to stderr."""
    if journal is not None and os.environ.get("JOURNAL_STREAM"):
        return journal.JournalHandler(SYSLOG_IDENTIFIER="nbd")  # type: ignore[no-any-return]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S"))
    return handler
