"""The tools that are measured side by side, each with the same verbs; and what one run of a verb cost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from nbd.places import CHECKOUT

VENV = CHECKOUT / ".venv-bench-s3"
AWSCLI = "awscli==1.46.2"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "*"}
BUCKET = "homes"


@dataclass
class Cost:
    seconds: float
    cpu: float
    rss: int
    """Bytes, at the peak."""
    requests: int | None = None
    stored: int = 0
    """Bytes more in the store."""


class Bucket:
    """A server of S3 (moto), and what it counted."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "moto.log"
        with self._log.open("wb") as log:
            argv = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
            self._server = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._ask("PUT", f"/{BUCKET}")
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()

    def requests(self) -> int:
        return self._log.read_bytes().count(b"HTTP/1.")

    def size(self, prefix: str) -> int:
        total, token = 0, ""
        while True:
            found = self._ask("GET", f"/{BUCKET}?list-type=2&prefix={prefix}{token}")
            total += sum(int(size) for size in re.findall(rb"<Size>(\d+)</Size>", found))
            more = re.search(rb"<NextContinuationToken>([^<]+)<", found)
            if not more:
                return total
            token = f"&continuation-token={quote(more[1].decode())}"

    def _ask(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", method=method, headers={"Authorization": "AWS test:test"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return bytes(answer.read())


class Tool(Protocol):
    name: str

    def backup(self) -> Cost: ...

    def restore(self, path: str, to: Path) -> Cost:
        """One file, or with an empty path all."""

    def size(self) -> int:
        """Bytes in the store."""

    def close(self) -> None: ...


def ran(argv: Sequence[str], environment: dict[str, str], cwd: Path | None = None) -> Cost:
    """A program, from its start to its end."""
    began = time.perf_counter()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    process = subprocess.Popen(argv, env=inherited | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(argv[:6])} failed: {said.decode()[-2000:]}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Nbd:
    name = "nbd"

    def __init__(self, home: Path, folder: Path, bucket: Bucket | None) -> None:
        self._bucket, self._store = bucket, folder / "nbd"
        secrets = folder / "secrets.toml"
        if bucket:
            options = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1", "endpoint": bucket.url}
            secrets.touch(mode=0o600)
            secrets.write_text("".join(f'{key} = "{value}"\n' for key, value in options.items()))
        where = [f"s3://{BUCKET}/nbd", str(secrets)] if bucket else [str(self._store), ""]
        argv = [sys.executable, "-m", "tests.bench.engine", str(home), str(folder / "state"), *where]
        self._engine = subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def backup(self) -> Cost:
        return self.do("backup")

    def restore(self, path: str, to: Path) -> Cost:
        return self.do("restore", path=path, to=str(to))

    def do(self, verb: str, **words: str) -> Cost:
        assert self._engine.stdin
        assert self._engine.stdout
        print(json.dumps({"do": verb, **words}), file=self._engine.stdin, flush=True)
        line = self._engine.stdout.readline()
        if not line:
            raise SystemExit("nbd's engine has ended: see above")
        return Cost(**json.loads(line))

    def size(self) -> int:
        return self._bucket.size("nbd") if self._bucket else bytes_in(self._store)

    def close(self) -> None:
        assert self._engine.stdin
        self._engine.stdin.close()
        self._engine.wait()


class Restic:
    name = "restic"

    def __init__(self, home: Path, folder: Path, bucket: Bucket | None) -> None:
        self._home, self._bucket, self._store = home, bucket, folder / "restic"
        where = f"s3:{bucket.url}/{BUCKET}/restic" if bucket else str(self._store)
        self._environment = {**KEYS, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(folder / "restic-cache"), "RESTIC_REPOSITORY": where}
        ran(["restic", "-q", "init"], self._environment)

    def backup(self) -> Cost:
        return ran(["restic", "-q", "backup", str(self._home)], self._environment)

    def restore(self, path: str, to: Path) -> Cost:
        some = ["--include", f"{self._home}/{path}"] if path else []
        return ran(["restic", "-q", "restore", "latest", "--target", str(to), *some], self._environment)

    def size(self) -> int:
        return self._bucket.size("restic") if self._bucket else bytes_in(self._store)

    def close(self) -> None:
        return


class Borg:
    name = "borg"

    def __init__(self, home: Path, folder: Path) -> None:
        self._home, self._store, self._number = home, folder / "borg", 0
        self._environment = {"BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(folder / "borg-base"), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        ran(["borg", "init", "--encryption", "repokey-blake2", str(self._store)], self._environment)

    def backup(self) -> Cost:
        self._number += 1
        return ran(["borg", "create", f"{self._store}::{self._number}", str(self._home)], self._environment)

    def restore(self, path: str, to: Path) -> Cost:
        to.mkdir()
        some = [f"{str(self._home).lstrip('/')}/{path}"] if path else []
        return ran(["borg", "extract", f"{self._store}::{self._number}", *some], self._environment, cwd=to)

    def size(self) -> int:
        return bytes_in(self._store)

    def close(self) -> None:
        return


class Rclone:
    """A mirror, not a history: what was there before is gone."""

    name = "rclone"

    def __init__(self, home: Path, folder: Path, bucket: Bucket | None) -> None:
        self._home, self._bucket, self._store = home, bucket, folder / "rclone"
        made = "provider=Other,env_auth=true,force_path_style=true"
        self._where = f":s3,{made},endpoint='{bucket.url}':{BUCKET}/rclone" if bucket else str(self._store)
        self._environment = {**KEYS, "RCLONE_CONFIG": "/dev/null"}

    def backup(self) -> Cost:
        return ran(["rclone", "-q", "sync", "--links", str(self._home), self._where], self._environment)

    def restore(self, path: str, to: Path) -> Cost:
        if path:
            return ran(["rclone", "-q", "copyto", f"{self._where}/{path}", str(to / path)], self._environment)
        return ran(["rclone", "-q", "sync", self._where, str(to)], self._environment)

    def size(self) -> int:
        return self._bucket.size("rclone") if self._bucket else bytes_in(self._store)

    def close(self) -> None:
        return


class Aws:
    """`aws s3 sync`: a mirror, as rclone."""

    name = "aws s3 sync"

    def __init__(self, home: Path, bucket: Bucket) -> None:
        self._home, self._bucket = home, bucket
        self._aws = [str(VENV / "bin/aws"), "--endpoint-url", bucket.url, "s3"]

    def backup(self) -> Cost:
        return ran([*self._aws, "sync", "--only-show-errors", "--delete", str(self._home), f"s3://{BUCKET}/aws"], KEYS)

    def restore(self, path: str, to: Path) -> Cost:
        verb = ["cp", f"s3://{BUCKET}/aws/{path}", str(to / path)] if path else ["sync", f"s3://{BUCKET}/aws", str(to)]
        return ran([*self._aws, verb[0], "--only-show-errors", *verb[1:]], KEYS)

    def size(self) -> int:
        return self._bucket.size("aws")

    def close(self) -> None:
        return


def install() -> None:
    """`aws`, once a checkout."""
    mark = VENV / ".installed"
    if not mark.exists() or mark.read_text() != AWSCLI:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", AWSCLI], check=True)
        mark.write_text(AWSCLI)


def missing() -> list[str]:
    return [name for name in ("restic", "borg", "rclone") if shutil.which(name) is None]
