"""Google's XML API for storage, as obstore speaks it, in front of gcp-storage-emulator. `python -m tests.fakes.gcs_server PORT TOKEN [BUCKET…]`.

The emulator keeps the objects, their generations and hashes, and answers ranges. It speaks little but the JSON API and knows no preconditions; so
the rest is done here as Google documents it: generation preconditions, one after the other; lists in pages; generation and MD5 as headers; a bearer
token that is the right one, or 401.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import hashlib
import socket
import sys
from datetime import datetime
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import ClientSession, MultipartWriter, TCPConnector, web
from gcp_storage_emulator.server import create_server

PAGE = 50
"""Small, so that a test sees more than one."""
MOST_BYTES = 200 << 20


class Front:
    def __init__(self, emulator: str, token: str) -> None:
        self._emulator, self._token = emulator, token
        self._writing = asyncio.Lock()
        self._parts: dict[str, dict[int, bytes]] = {}
        """Of uploads in parts, by upload and number."""
        self.session: ClientSession

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            return refusal(401, "AuthenticationRequired")
        bucket, _, key = request.path.lstrip("/").partition("/")
        if not await self._json(f"/storage/v1/b/{bucket}"):
            return refusal(404, "NoSuchBucket")
        if not key:
            return await self._list(bucket, request)
        if "uploads" in request.query or "uploadId" in request.query:
            return await self._in_parts(bucket, key, request)
        if request.method == "PUT":
            async with self._writing:
                return await self._put(bucket, key, await request.read(), request.headers.get("x-goog-if-generation-match"))
        facts = await self._json(self._object(bucket, key))
        if facts is None:
            return refusal(404, "NoSuchKey")
        if request.method == "DELETE":
            await self.session.delete(self._emulator + self._object(bucket, key))
            return web.Response(status=204)
        return await self._get(f"/{bucket}/{quote(key)}", facts, request)

    async def _in_parts(self, bucket: str, key: str, request: web.Request) -> web.Response:
        """Begun, a part, the end, or taken back; an object at the end alone."""
        if "uploads" in request.query:
            upload = f"upload-{len(self._parts)}"
            self._parts[upload] = {}
            ids = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            return web.Response(text=f"<InitiateMultipartUploadResult>{ids}</InitiateMultipartUploadResult>", content_type="application/xml")
        parts = self._parts[request.query["uploadId"]]
        if request.method == "PUT":
            parts[int(request.query["partNumber"])] = body = await request.read()
            return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        if request.method == "DELETE":
            parts.clear()
            return web.Response(status=204)
        async with self._writing:
            done = await self._put(bucket, key, b"".join(parts[number] for number in sorted(parts)), None)
        tag = f"<ETag>{escape(done.headers['ETag'])}</ETag>"
        return web.Response(text=f"<CompleteMultipartUploadResult>{tag}</CompleteMultipartUploadResult>", content_type="application/xml")

    async def _put(self, bucket: str, key: str, body: bytes, wanted: str | None) -> web.Response:
        facts = await self._json(self._object(bucket, key))
        if wanted is not None and wanted != (facts["generation"] if facts else "0"):
            return refusal(412, "PreconditionFailed")
        async with self._written(bucket, key, body) as answer:
            assert answer.status == 200, await answer.text()
        facts = await self._json(self._object(bucket, key))
        assert facts
        return web.Response(headers=headers_of(facts))

    def _written(self, bucket: str, key: str, body: bytes) -> Any:
        """The emulator's short way does not know the empty object."""
        if body:
            return self.session.put(f"{self._emulator}/{bucket}/{quote(key)}", data=body)
        parts = MultipartWriter("related")
        parts.append_json({"name": key})
        parts.append("", {"Content-Type": "application/octet-stream"})
        return self.session.post(f"{self._emulator}/upload/storage/v1/b/{bucket}/o?uploadType=multipart", data=parts)

    async def _get(self, path: str, facts: dict[str, Any], request: web.Request) -> web.Response:
        if request.headers.get("If-Match") not in (None, headers_of(facts)["ETag"]):
            return refusal(412, "PreconditionFailed")
        if request.method == "HEAD":
            return web.Response(headers={**headers_of(facts), "Content-Length": facts["size"]})
        wanted = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
        if wanted and int(wanted["Range"].removeprefix("bytes=").partition("-")[0]) >= int(facts["size"]):
            return refusal(416, "InvalidRange")
        async with self.session.get(self._emulator + path, headers=wanted) as answer:
            body = await answer.read()
            part = {"Content-Range": answer.headers["Content-Range"]} if answer.status == 206 else {}
            return web.Response(status=answer.status, body=body, headers={**headers_of(facts), **part})

    async def _list(self, bucket: str, request: web.Request) -> web.Response:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        found = (await self._json(f"/storage/v1/b/{bucket}/o?prefix={quote(prefix)}")) or {}
        after = query.get("continuation-token") or query.get("start-after", "")
        rows: dict[str, dict[str, Any] | None] = {}
        for facts in found.get("items", []):
            rest = facts["name"][len(prefix) :]
            folder = prefix + rest[: rest.index(delimiter) + 1] if delimiter and delimiter in rest else None
            rows[folder or facts["name"]] = None if folder else facts
        names = sorted(name for name in rows if name > after)
        page, more = names[:PAGE], len(names) > PAGE
        lines = ['<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>', f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
        lines += [f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"] if more else []
        lines += [row(name, rows[name]) for name in page]
        return web.Response(text="".join([*lines, "</ListBucketResult>"]), content_type="application/xml")

    @staticmethod
    def _object(bucket: str, key: str) -> str:
        return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"

    async def _json(self, path: str) -> dict[str, Any] | None:
        async with self.session.get(self._emulator + path) as answer:
            return dict(await answer.json()) if answer.status == 200 else None


def row(name: str, facts: dict[str, Any] | None) -> str:
    if facts is None:
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    tag = base64.b64decode(facts["md5Hash"]).hex()
    return (
        f"<Contents><Key>{escape(name)}</Key><Size>{facts['size']}</Size><LastModified>{facts['updated']}</LastModified>"
        f'<ETag>"{tag}"</ETag><Generation>{facts["generation"]}</Generation></Contents>'
    )


def headers_of(facts: dict[str, Any]) -> dict[str, str]:
    return {
        "ETag": f'"{base64.b64decode(facts["md5Hash"]).hex()}"',
        "x-goog-generation": facts["generation"],
        "Last-Modified": email.utils.format_datetime(datetime.fromisoformat(facts["updated"]), usegmt=True),
        "Content-Type": "application/octet-stream",
    }


def refusal(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>", content_type="application/xml")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def serve(port: int, token: str, buckets: list[str]) -> None:
    inner = free_port()
    with create_server("127.0.0.1", inner, in_memory=True):
        front = Front(f"http://127.0.0.1:{inner}", token)
        async with ClientSession(connector=TCPConnector(limit=1, force_close=True)) as front.session:  # It answers one at a time.
            for bucket in buckets:
                await front.session.post(f"{front._emulator}/storage/v1/b", json={"name": bucket})
            app = web.Application(client_max_size=MOST_BYTES)
            app.router.add_route("*", "/{tail:.*}", front.handle)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
