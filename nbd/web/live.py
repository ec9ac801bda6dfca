"""Server-sent events to a page: "something of yours changed", so that it fetches itself again. Says which, never what."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import web

from ..messages import DoorEvent, DoorKind
from .table import DoorTable
from .visit import Visit

PING_SECONDS = 15.0
COALESCE_SECONDS = 0.05
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}


class Live:
    def __init__(self, table: DoorTable) -> None:
        self._table = table

    async def events(self, visit: Visit, _: str) -> web.StreamResponse:
        """Until the browser leaves or its sign-in ends."""
        changed: set[str] = set()
        woken = asyncio.Event()

        def note(events: Collection[DoorEvent]) -> None:
            for event in events:
                changed.update(concerns(event, visit))
            if changed:
                woken.set()

        answer = web.StreamResponse(headers=HEADERS)
        stop = self._table.watch(note)
        try:
            await answer.prepare(visit.request)
            # The page may be older than this subscription by now: let it look once.
            await answer.write(b"retry: 1000\nevent: changed\ndata: \n\n")
            while not await told(answer, woken, changed):
                pass
        finally:
            stop()
        return answer


def concerns(event: DoorEvent, visit: Visit) -> Collection[str]:
    """What of an event a visitor may hear: ids of their notebooks, "gpus", or "signed-out"."""
    sign_in = visit.decision.sign_in
    if event.kind is DoorKind.SIGN_OUT:
        return ("signed-out",) if sign_in is not None and event.key == sign_in.token_sha256 else ()
    if event.kind is DoorKind.NOTEBOOK_GONE:
        return (event.key,)  # an id says nothing to who does not have it
    if event.notebook is None:
        return ()
    # Another person's notebook may have taken a card or given one back; which one it is stays theirs.
    return (event.notebook.id,) if event.notebook.owner == visit.person else ("gpus",)


async def told(answer: web.StreamResponse, woken: asyncio.Event, changed: set[str]) -> bool:
    """Write what changed, or a sign of life. True when that was the last there is to say."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await woken.wait()
    except TimeoutError:
        await answer.write(b": still here\n\n")
        return False
    await asyncio.sleep(COALESCE_SECONDS)  # a start changes several times in a moment; one look is enough
    ids = " ".join(sorted(changed))
    over = "signed-out" in changed
    changed.clear()
    woken.clear()
    await answer.write(f"event: changed\ndata: {ids}\n\n".encode())
    return over
