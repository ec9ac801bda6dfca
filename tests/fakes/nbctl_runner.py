"""nbctl as people run it: a process with arguments, an environment, and pipes or a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 20


def me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Nbctl:
    socket: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "NBD_SOCKET": str(self.socket), "TZ": "UTC"}
        return {**base, **self.env}

    def command(self, *argv: str) -> list[str]:
        return [sys.executable, "-m", "nbd.cli.nbctl", *argv]

    def __call__(self, *argv: str, **env: str) -> Ran:
        """Runs it to its end, with pipes."""
        done = subprocess.run(
            self.command(*argv),
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def begun(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """Runs it while the test does something to core."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self.command(*argv), env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, encoding="utf-8", preexec_fn=hears_ctrl_c
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def on_terminal(self, *argv: str, columns: int = 100) -> Iterator[Terminal]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        env = {**self.environment, "TERM": "xterm"}
        with subprocess.Popen(
            self.command(*argv), env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=hears_ctrl_c
        ) as process:
            os.close(theirs)
            try:
                yield Terminal(process, ours)
            finally:
                process.kill()
                os.close(ours)


def hears_ctrl_c() -> None:
    """Whoever runs the tests in the background of a shell has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Terminal:
    process: subprocess.Popen[bytes]
    fd: int
    seen: str = ""

    def until(self, text: str) -> str:
        """All that was shown so far, once `text` is among it."""
        until = time.monotonic() + PATIENCE_SECONDS
        while text not in self.seen:
            if not self._more(until):
                raise AssertionError(f"{text!r} was never shown, but at last: {self.seen[-500:]!r}")
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> tuple[int, str]:
        until = time.monotonic() + PATIENCE_SECONDS
        while self._more(until):
            pass
        return self.process.wait(PATIENCE_SECONDS), self.seen

    def _more(self, until: float) -> bool:
        ready, _, _ = select.select([self.fd], [], [], max(until - time.monotonic(), 0))
        try:
            data = os.read(self.fd, 65536) if ready else b""
        except OSError:  # EIO: the last who had the terminal open is gone
            data = b""
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


def finished(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Ran(process.returncode, out, err)
