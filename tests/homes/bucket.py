"""A real S3 (moto) on this machine, and boto3 as any other tool that uses it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from nbd.homes.attached.url import parsed
from nbd.host.credentials import Access
from nbd.host.plainobjects import PlainObjects

KEYS = {"access_key_id": "lab", "secret_access_key": "lab-secret", "region": "us-east-1"}
BUCKET = "lab-data"
PATIENCE = 30.0


@dataclass(frozen=True)
class Bucket:
    endpoint: str
    client: Any

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def clear(self) -> None:
        for key in self.keys():
            self.delete(key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def all(self, prefix: str = "") -> dict[str, bytes]:
        """Without those that go just now."""
        found = {}
        for key in self.keys(prefix):
            with contextlib.suppress(self.client.exceptions.NoSuchKey):
                found[key.removeprefix(prefix)] = self.get(key)
        return found

    def unfinished(self) -> list[str]:
        return [item["Key"] for item in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]

    def objects(self, prefix: str) -> PlainObjects:
        options = {**KEYS, "endpoint": self.endpoint}
        return PlainObjects(parsed(f"s3://{BUCKET}/{prefix}"), Access(options, {"allow_http": True}))


@contextmanager
def s3(port: int) -> Iterator[Bucket]:
    argv = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    pages = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "50"}  # Small, so that a test sees more than one.
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=pages)
    endpoint = f"http://127.0.0.1:{port}"
    options = Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 1})
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEYS["access_key_id"], aws_secret_access_key=KEYS["secret_access_key"],
        region_name=KEYS["region"], config=options,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                client.create_bucket(Bucket=BUCKET)
                break
            except botocore.exceptions.EndpointConnectionError:
                assert time.monotonic() < deadline, "moto does not come up"
                time.sleep(0.05)
        yield Bucket(endpoint, client)
    finally:
        client.close()
        server.kill()
        server.wait()
