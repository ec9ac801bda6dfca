"""systemd's side of a service, seen from systemd: what it is told on its socket, and nothing at all where there is no systemd."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = """
    import json, logging
    from nbd.host import systemd
    handler = systemd.log_handler()
    systemd.notify("READY=1")
    systemd.notify("WATCHDOG=1")
    print(json.dumps([systemd.daemon is not None, systemd.watchdog_seconds(), systemd.handed_sockets(), type(handler).__name__]))
"""
HIDE = "import sys; sys.modules['systemd'] = None\n"


def ask(env: Mapping[str, str], *, hidden: bool = False) -> list[object]:
    """In a process of its own: the variables are read once, and another's would be ours."""
    script = (HIDE if hidden else "") + textwrap.dedent(ASK)
    base = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", script], env={**base, **env}, cwd="/", capture_output=True, text=True, check=True)
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("hidden", [False, True])
def test_outside_of_systemd_all_of_it_is_nothing(*, hidden: bool) -> None:
    assert ask({}, hidden=hidden)[1:] == [None, [], "StreamHandler"]


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e6", "12 "])
def test_a_watchdog_that_is_no_number_is_none(text: str) -> None:
    assert ask({"WATCHDOG_USEC": text})[1] is None


def test_without_the_bindings_nothing_is_promised() -> None:
    """A watchdog nobody feeds must not be counted on, a socket nobody takes not be waited for."""
    assert ask({"WATCHDOG_USEC": "5000000", "NOTIFY_SOCKET": "/none", "JOURNAL_STREAM": "1:2"}, hidden=True) == [False, None, [], "StreamHandler"]


def test_systemd_hears_of_it(short_path: Path) -> None:
    if not ask({})[0]:
        pytest.skip("systemd's bindings are not in this virtualenv")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(short_path / "notify"))
        assert ask({"NOTIFY_SOCKET": str(short_path / "notify"), "WATCHDOG_USEC": "5000000"})[1] == 5.0
        sock.settimeout(10)
        assert [sock.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
