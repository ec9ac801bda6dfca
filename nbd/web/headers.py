"""What of a message's head passes through the proxy, and how it is written again. Pure: header fields in, bytes out.

Nothing is copied through as it came. A head is parsed by llhttp, judged here, and serialised anew with one framing that we chose, so that the
browser's side, this file and the editor can never disagree about where a message ends. Names with `_` in them are dropped, because servers
that turn headers into variables cannot tell `X_Forwarded_For` from `X-Forwarded-For`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache

from ..errors import InvalidInput, Unreachable
from .cookies import may_set, without_mine

Fields = Iterable[tuple[bytes, bytes]]


class Kind(IntEnum):
    KEEP = 0
    DROP = 1
    COOKIE = 2
    CONNECTION = 3
    ENCODING = 4
    SET_COOKIE = 5
    LENGTH = 6


HOP_BY_HOP = frozenset(
    b"keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer trailers upgrade http2-settings expect via".split()
)
SPOKEN_FOR = (b"x-forwarded", b"x-remote-", b"x-auth-", b"x-authenticated-", b"x-webauth-", b"x-original-", b"x-rewrite-", b"x-envoy-", b"x-nbd-")
IDENTITY = frozenset(
    b"forwarded x-real-ip remote-user x-user x-username x-email x-groups x-client-ip x-cluster-client-ip client-ip true-client-ip cf-connecting-ip "
    b"x-originating-ip x-host x-proxyuser-ip".split()
)
NOT_FROM_EDITORS = frozenset(b"clear-site-data strict-transport-security service-worker-allowed alt-svc public-key-pins expect-ct".split())
CONNECTION_WORDS = frozenset({b"", b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"})
SPECIAL = {
    b"cookie": Kind.COOKIE,
    b"connection": Kind.CONNECTION,
    b"transfer-encoding": Kind.ENCODING,
    b"content-length": Kind.LENGTH,
    b"set-cookie": Kind.SET_COOKIE,
}


@lru_cache(maxsize=2048)
def request_kind(name: bytes) -> Kind:
    lower = name.lower()
    if b"_" in lower or lower in HOP_BY_HOP or lower in IDENTITY or lower.startswith(SPOKEN_FOR):
        return Kind.DROP
    return SPECIAL.get(lower, Kind.KEEP)


@lru_cache(maxsize=2048)
def answer_kind(name: bytes) -> Kind:
    lower = name.lower()
    return Kind.DROP if lower in HOP_BY_HOP or lower in NOT_FROM_EDITORS else SPECIAL.get(lower, Kind.KEEP)


def request_head(method: str, target: str, fields: Fields, own: bytes) -> bytes:
    """The head for the editor, without its framing: `own` ends it (see `framing`) and says what nbd itself says.

    Raises InvalidInput for what two servers could read in two ways.
    """
    lines = [f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")]
    for name, value in fields:
        kind = request_kind(name)
        if kind is Kind.KEEP:
            lines.append(name + b": " + value)
        elif kind is Kind.COOKIE:
            lines += [name + b": " + left for left in (without_mine(value),) if left]
        elif kind is Kind.ENCODING and value.lower() != b"chunked":
            raise InvalidInput("a request body may be chunked, and nothing else", code="bad_transfer_encoding")
        elif kind is Kind.CONNECTION and not CONNECTION_WORDS.issuperset(word.strip() for word in value.lower().split(b",")):
            raise InvalidInput("the Connection header may not name other headers", code="bad_connection")
    lines.append(own)
    return b"\r\n".join(lines)


def unencoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    """A request's fields, asking for an answer that can be read as it comes."""
    return [(name, value) for name, value in fields if name.lower() != b"accept-encoding"] + [(b"Accept-Encoding", b"identity")]


def answer_head(code: int, reason: str, fields: Fields, framing: bytes) -> bytes:
    """The head for the browser; `framing` ends it. Raises Unreachable where the editor's own cannot be passed on safely."""
    lines = [f"HTTP/1.1 {code} {reason}".encode("latin-1", "replace")]
    for name, value in fields:
        kind = answer_kind(name)
        if kind is Kind.KEEP or (kind is Kind.SET_COOKIE and may_set(value)):
            lines.append(name + b": " + value)
        elif kind is Kind.ENCODING and value.lower() != b"chunked":
            raise Unreachable("the editor answered in an encoding that HTTP/1.1 proxies do not know", code="bad_gateway")
    head = b"\r\n".join(lines)
    # The parser is lenient with servers. One line a field, or none of it passes.
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise Unreachable("the editor's answer has control characters in its head", code="bad_gateway")
    return head + framing


def forwarded(peer: str, scheme: str, host: str) -> bytes:
    return f"X-Forwarded-For: {peer}\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {host}\r\n".encode("ascii", "replace")


def framing(length: int | None) -> bytes:
    """The last lines of a head: so many bytes follow, or None: chunks do."""
    return b"Transfer-Encoding: chunked\r\n\r\n" if length is None else b"Content-Length: %d\r\n\r\n" % length


def chunk(data: bytes) -> tuple[bytes, bytes, bytes]:
    return b"%x\r\n" % len(data), data, b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
