"""nbd's own cookies: read, made, and kept from everybody else. Pure.

A name belongs to nbd when it starts with `nbd_` in any case, with or without a `__Host-` or `__Secure-` before it. Such a cookie is never shown to
an editor and never taken from one; the editor's own cookies pass both ways.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from ..messages import Redeemed

MINE = re.compile(rb"(?:__(?:host|secure)-)?nbd_", re.IGNORECASE)
TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{16,512}")


def cookie_name(scheme: str) -> str:
    return "__Host-nbd_session" if scheme == "https" else "nbd_session"


def tokens(header: str, name: str) -> tuple[str, ...]:
    """Every value under `name`, in the order sent: a page of another port or path can have put one before ours."""
    if name not in header:
        return ()
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return tuple(value for key, _, value in pairs if key == name and TOKEN.fullmatch(value))[:4]


def without_mine(header: bytes) -> bytes:
    """The Cookie header as the editor may see it; empty when nothing is left."""
    if b"nbd_" not in header.lower():
        return header
    return b"; ".join(part for part in map(bytes.strip, header.split(b";")) if part and not MINE.match(part))


def may_set(header: bytes) -> bool:
    """May this Set-Cookie of an editor reach the browser? Not with a Domain (it would reach other notebooks), not under nbd's names."""
    pair, *attributes = header.split(b";")
    if MINE.match(pair.strip()) or b"=" not in pair:
        return False
    return all(attribute.partition(b"=")[0].strip().lower() != b"domain" for attribute in attributes)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def session_cookie(redeemed: Redeemed, scheme: str, now: float) -> str:
    age = max(0, int(redeemed.sign_in.expires - now))
    return f"{cookie_name(scheme)}={redeemed.token}; Path=/; Max-Age={age}; {flags(scheme)}"


def expired_cookie(scheme: str) -> str:
    return f"{cookie_name(scheme)}=; Path=/; Max-Age=0; {flags(scheme)}"


def flags(scheme: str) -> str:
    return "HttpOnly; SameSite=Lax" + ("; Secure" if scheme == "https" else "")


def form_token(token: str) -> str:
    """What a form of this sign-in must carry. Derived, so that it outlives a restart of the door; no script can read what it comes from."""
    return hmac.new(token.encode(), b"nbd form", hashlib.sha256).hexdigest()


def form_token_is(token: str, shown: str) -> bool:
    return hmac.compare_digest(form_token(token).encode(), shown.encode())
