"""A line of ours in an editor's page: the script that shows notices there (static/notice.js), without an extension that anybody installs. Pure.

Only pages of the editor itself get it, and only as whole pages: a person's own HTML that the editor shows (/files/…), a web program of theirs
behind it (/proxy/…), a frame and a download pass as they are.
"""

from __future__ import annotations

import re

from aiohttp.http_parser import RawResponseMessage

from ..editors import EDITORS
from .access import Ask

LOOK_BYTES = 16 * 1024
"""A page whose head does not begin by then gets nothing."""
HEAD = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)


def inset(version: str) -> bytes:
    return f'<script src="/.nbd/static/notice.js?v={version}" defer></script>'.encode()


def asks_for_page(ask: Ask, editor: str, path: str) -> bool:
    """Whether a browser opens a page of the editor's, as a whole."""
    if ask.method != "GET" or ask.upgrade or ask.dest not in (None, "document") or editor not in EDITORS:
        return False
    return any(path == page or path.startswith((page + "/", page + "?")) for page in EDITORS[editor].pages)


def is_page(head: RawResponseMessage) -> bool:
    """Whether an answer is one, in a form that can be read."""
    kind, told = head.headers.get("Content-Type", ""), head.headers.get("Content-Encoding", "identity")
    attached = head.headers.get("Content-Disposition", "").lower().startswith("attachment")
    return head.code == 200 and kind.lower().startswith("text/html") and told == "identity" and not attached


def place_in(beginning: bytes | bytearray) -> int | None:
    """Where the inset goes; None where that is not to be seen (yet)."""
    found = HEAD.search(beginning)
    return found.end() if found else None


def with_inset(beginning: bytes, inset: bytes) -> bytes:
    place = place_in(beginning)
    return beginning if place is None else beginning[:place] + inset + beginning[place:]
