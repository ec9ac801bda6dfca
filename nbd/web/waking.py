"""Who wakes a frozen notebook: a person who opens it, and nobody else. Pure.

Thawing takes memory, and perhaps a card, from others. A tab that was forgotten asks again and again, a browser fetches ahead what a person may
never open, and another site can lead here; all of those get words, or a page with a button.
"""

from __future__ import annotations

from .access import Ask, asked_for


def person_opens(ask: Ask, *, user: str | None, purpose: str, referer: str | None, trusted: frozenset[str]) -> bool:
    """`user` and `purpose` are the browser's Sec-Fetch-User and Sec-Purpose. A page that loads itself again has no user behind it; a browser
    that says neither a mode nor a user is believed to be old."""
    if ask.method != "GET" or ask.upgrade or "prefetch" in purpose or ask.dest not in (None, "document"):
        return False
    by_hand = user == "?1" or (user is None and not ask.mode)
    return by_hand and asked_for(ask.site, referer, trusted)
