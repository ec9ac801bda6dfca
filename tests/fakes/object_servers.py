"""Real servers of objects on loopback, each a process of its own: moto for S3, azurite for Azure Blob, an emulator of GCS. Each has a bucket."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from tests.fakes.gcs_server import free_port

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "homes"
ROOT_OF_S3 = {"Authorization": "AWS test:test"}
UP_SECONDS = 60.0
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's own, the same everywhere."""
GCS_TOKEN = "a-token-of-the-test"


@dataclass
class Server:
    scheme: str
    endpoint: str
    secrets: Mapping[str, str]
    """As in the file that homes.store_secrets names."""
    wrong: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.removeprefix("http://").partition("/")[0].partition(":")
        return host, int(port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def ask(address: tuple[str, int], method: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> tuple[int, bytes]:
    """One plain request, without nbd and without obstore."""
    line = http.client.HTTPConnection(*address, timeout=30)
    try:
        line.request(method, path, body, dict(headers))
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


@contextlib.contextmanager
def running(argv: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
        try:
            until_up(process, port, said)
            yield process
        finally:
            process.kill()
            process.wait()


def until_up(process: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while True:
        with contextlib.suppress(OSError):
            ask(("127.0.0.1", port), "GET", "/")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said.seek(0)
            raise AssertionError(f"{process.args!r} did not come up: {said.read().decode()[-2000:]}")
        time.sleep(0.05)


@contextlib.contextmanager
def s3() -> Iterator[Server]:
    moto, port = Path(sys.executable).with_name("moto_server"), free_port()
    with running([str(moto), "-H", "127.0.0.1", "-p", str(port)], port) as process:
        secrets = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1", "endpoint": f"http://127.0.0.1:{port}"}
        server = Server("s3", secrets["endpoint"], secrets, {**secrets, "access_key_id": "AKIAWRONG", "secret_access_key": "hush"}, process)
        make_s3_bucket(server, BUCKET)
        yield server


def make_s3_bucket(server: Server, name: str) -> None:
    status, said = ask(server.address, "PUT", f"/{name}", ROOT_OF_S3)
    assert status == 200, said


def strict_s3(server: Server, *, strict: bool) -> None:
    """moto asks for no credentials until it is told to; then it goes by signatures and policies."""
    status, said = ask(server.address, "POST", "/moto-api/reset-auth", body=b"0" if strict else b"inf")
    assert status == 200, said


def s3_user(server: Server, name: str, policy: str) -> dict[str, str]:
    """Secrets of a new user who may do what the policy says. Not while the server is strict."""
    ask_iam(server, Action="CreateUser", UserName=name)
    ask_iam(server, Action="PutUserPolicy", UserName=name, PolicyName="nbd", PolicyDocument=policy)
    made = ask_iam(server, Action="CreateAccessKey", UserName=name)
    key, secret = (made.partition(f"<{tag}>")[2].partition("<")[0] for tag in ("AccessKeyId", "SecretAccessKey"))
    return {**server.secrets, "access_key_id": key, "secret_access_key": secret}


def ask_iam(server: Server, **form: str) -> str:
    scope = "Credential=x/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}", "Content-Type": "application/x-www-form-urlencoded"}
    status, said = ask(server.address, "POST", "/", headers, urlencode({**form, "Version": "2010-05-08"}).encode())
    assert status == 200, said
    return said.decode()


@contextlib.contextmanager
def azure() -> Iterator[Server]:
    program, port = ROOT / ".venv/azurite/node_modules/azurite/dist/src/blob/main.js", free_port()
    assert program.exists(), "azurite is not installed: packaging/dev/setup test"
    node = shutil.which("node") or "node"
    argv = [node, str(program), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with running(argv, port) as process:
        secrets = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY, "endpoint": f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"}
        server = Server("az", secrets["endpoint"], secrets, {**secrets, "account_key": base64.b64encode(b"hush" * 16).decode()}, process)
        make_azure_container(server, BUCKET)
        yield server


def make_azure_container(server: Server, name: str) -> None:
    date = email.utils.formatdate(usegmt=True)
    told = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    lines = "".join(f"{key}:{value}\n" for key, value in told.items())
    text = "PUT" + "\n" * 12 + f"{lines}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    signed = base64.b64encode(hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers = {**told, "Authorization": f"SharedKey {AZURE_ACCOUNT}:{signed}", "Content-Length": "0"}
    status, said = ask(server.address, "PUT", f"/{AZURE_ACCOUNT}/{name}?restype=container", headers)
    assert status == 201, said


@contextlib.contextmanager
def gcs() -> Iterator[Server]:
    port = free_port()
    with running([sys.executable, "-m", "tests.fakes.gcs_server", str(port), GCS_TOKEN, BUCKET], port) as process:
        secrets = {"bearer_token": GCS_TOKEN, "endpoint": f"http://127.0.0.1:{port}"}
        yield Server("gs", secrets["endpoint"], secrets, {**secrets, "bearer_token": "hush"}, process)


SERVERS = {"s3": s3, "azure": azure, "gcs": gcs}
