"""With credentials from a file, obstore talks to the endpoint and to nobody else: not to a cloud's metadata service, not to a token service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import asyncio, sys
from nbd.errors import NbdError
from nbd.host.credentials import access
from nbd.host.objectstore import BucketStore

async def main(scheme, file):
    found = access(scheme, file, role=False)
    store = BucketStore(f"{scheme}://homes", found.options, found.client, 2.0)
    for call in (store.fetch("latest"), store.create("data/ab", b"x"), store.list(""), store.delete("latest")):
        try:
            await call
        except NbdError as error:
            print(error.code)

from pathlib import Path
asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""
SECRETS = {
    "s3": 'access_key_id = "x"\nsecret_access_key = "x"\n',
    "az": 'account_name = "x"\nsas_key = "sv=2021-08-06&sig=x"\n',
    "gs": 'bearer_token = "x"\n',
}


@pytest.mark.parametrize("scheme", SECRETS)
def test_only_the_endpoint_is_called(scheme: str, tmp_path: Path) -> None:
    file, trace = tmp_path / "secrets", tmp_path / "trace"
    file.touch(mode=0o600)
    file.write_text(SECRETS[scheme] + 'endpoint = "http://127.0.0.1:9"\n')
    argv = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(trace), sys.executable, "-c", ASK, scheme, str(file)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["store_away"] * 4, done.stderr
    called = re.findall(r"sin_port=htons\((\d+)\), sin_addr=inet_addr\(\"([\d.]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\"", trace.read_text())
    assert set(called) == {("9", "127.0.0.1", "")}, called
