"""The pages of a person's home: how it is kept, its days, what was in a folder then, what changed, and getting it back.

Rule 10 of the design holds here too: no byte of a file leaves this origin as a file. An old text is shown as escaped text on a page; a file itself
comes back by a restore into the home, where the editor, on its own origin, can show or download it.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web

from ..attachments import AttachedView
from ..errors import InvalidInput, NbdError, NotFound
from ..messages import DifferenceView, EntryView, HomeView, LossView, RestoreRequest, SnapshotView, TextView, UsageView, VersionView
from . import homewords as words
from .corelink import CoreLink
from .homewords import At
from .render import Renderer
from .restores import Restores
from .visit import Policy, Route, Visit

T = TypeVar("T")
SECTION_SECONDS = 5.0
"""A part of the page that is not there by then is left out, and says so."""
MOST_ROWS = 1000
MOST_COMPARED = 400_000
"""Letters; comparing takes longer than it is worth beyond."""
CONTEXT_LINES = 3


class HomePages:
    def __init__(self, core: CoreLink, render: Renderer, restores: Restores) -> None:
        self._core, self._render, self._restores = core, render, restores

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/home", Policy.SIGNED_IN, self.home),
            Route("GET", "/home/now", Policy.SIGNED_IN, self.now),
            Route("GET", "/home/room", Policy.SIGNED_IN, self.room),
            Route("GET", "/home/confirm", Policy.SIGNED_IN, self.ask_confirm),
            Route("POST", "/home/confirm", Policy.FORM, self.confirm),
            Route("GET", "/home/snapshots/{id}", Policy.SIGNED_IN, self.folder),
            Route("GET", "/home/snapshots/{id}/file", Policy.SIGNED_IN, self.file),
            Route("GET", "/home/snapshots/{id}/changes", Policy.SIGNED_IN, self.changes),
            Route("GET", "/home/snapshots/{id}/restore", Policy.SIGNED_IN, self.ask_restore),
            Route("POST", "/home/snapshots/{id}/restore", Policy.FORM, self.restore),
            Route("GET", "/home/restores/{id}", Policy.SIGNED_IN, self.restoring),
            Route("POST", "/home/restores/{id}/stop", Policy.FORM, self.stop),
        ]

    async def home(self, visit: Visit, _: str) -> web.StreamResponse:
        attached = self._core.get_list(AttachedView, "/v1/home/attached", visit.token)
        view, snapshots, usage, data = await asyncio.gather(
            self._section(self._status(visit)), self._section(self._snapshots(visit)), self._section(self._usage(visit)), self._section(attached)
        )
        days = words.timeline(snapshots, time.time()) if not isinstance(snapshots, NbdError) else snapshots
        seen = [] if isinstance(data, NbdError) else data
        return self._page(visit, "homes.html", view=view, days=days, usage=usage, restore=self._restores.running(visit.person), attached=seen)

    async def now(self, visit: Visit, _: str) -> web.StreamResponse:
        """The part of the page that changes by itself."""
        view = await self._section(self._status(visit))
        return self._page(visit, "homes-now.html", view=view, restore=self._restores.running(visit.person))

    async def room(self, visit: Visit, _: str) -> web.StreamResponse:
        return self._page(visit, "homes-room.html", usage=await self._usage(visit))

    async def ask_confirm(self, visit: Visit, _: str) -> web.StreamResponse:
        view, loss = await self._status(visit), await self._core.get(LossView, "/v1/home/losses", visit.token)
        return self._page(visit, "homes-confirm.html", view=view, loss=loss)

    async def confirm(self, visit: Visit, _: str) -> web.StreamResponse:
        await self._core.post(HomeView, "/v1/home/confirm", visit.token)
        return self._render.redirect("/home")

    async def folder(self, visit: Visit, id: str) -> web.StreamResponse:
        at, query = asked(visit), f"snapshot={snapshot_id(id)}&path={asked(visit).quoted}"
        snapshots, entries = await asyncio.gather(
            self._snapshots(visit), self._core.get_list(EntryView, f"/v1/home/ls?{query}", visit.token)
        )
        rows = sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name.lower(), entry.name))
        before, after = words.neighbours(snapshots, (one := chosen(snapshots, id)).id)
        return self._page(
            visit, "homes-folder.html", snapshot=one, at=at, before=before, after=after,
            rows=[(entry, at.below(entry)) for entry in rows[:MOST_ROWS]], left_out=max(0, len(rows) - MOST_ROWS),
        )  # fmt: skip

    async def file(self, visit: Visit, id: str) -> web.StreamResponse:
        at = asked(visit)
        query = f"snapshot={snapshot_id(id)}&path={at.quoted}"
        text, versions = await asyncio.gather(
            self._core.get(TextView, f"/v1/home/text?{query}", visit.token),
            self._section(self._core.get_list(VersionView, f"/v1/home/versions?path={at.quoted}", visit.token)),
        )
        other, lines, cells = None, None, list[words.Cell]()
        if visit.query("against"):
            query = f"snapshot={snapshot_id(visit.query('against'))}&path={at.quoted}"
            other = await self._core.get(TextView, f"/v1/home/text?{query}", visit.token)
            lines = await asyncio.to_thread(compared, at.path, other, text)
        elif at.path.endswith(".ipynb") and not text.cut:
            cells = words.cells(text.text)
        more: dict[str, Any] = {"versions": versions, "other": other, "lines": lines, "cells": cells}
        return self._page(visit, "homes-file.html", snapshot=text.snapshot, at=at, file=text, **more)

    async def changes(self, visit: Visit, id: str) -> web.StreamResponse:
        snapshots = await self._snapshots(visit)
        one = chosen(snapshots, id)
        before, after = words.neighbours(snapshots, one.id)
        since = chosen(snapshots, snapshot_id(visit.query("since"))) if visit.query("since") else before
        found: Sequence[DifferenceView] = ()
        if since is not None:
            found = await self._core.get_list(DifferenceView, f"/v1/home/diff?a={since.id}&b={one.id}", visit.token)
        return self._page(
            visit, "homes-changes.html", snapshot=one, since=since, after=after, choices=snapshots[:MOST_ROWS],
            rows=[(change, At.of(change.quoted) if change.quoted else At(change.path)) for change in found[:MOST_ROWS]],
            left_out=max(0, len(found) - MOST_ROWS),
        )  # fmt: skip

    async def ask_restore(self, visit: Visit, id: str) -> web.StreamResponse:
        return await self._ask_restore(visit, id, asked(visit))

    async def _ask_restore(self, visit: Visit, id: str, at: At, error: NbdError | None = None) -> web.StreamResponse:
        one = chosen(await self._snapshots(visit), id)
        status = error.status if error else 200
        running = self._restores.running(visit.person)
        return self._page(visit, "homes-restore.html", status=status, snapshot=one, at=at, error=error, running=running)

    async def restore(self, visit: Visit, id: str) -> web.StreamResponse:
        at, where = At.of(visit.form.get("what", "")), visit.form.get("where", "")
        if where not in ("new", "place"):
            return await self._ask_restore(visit, id, at, InvalidInput("say where to restore to"))
        wish = RestoreRequest(at.path, snapshot_id(id), None, "" if where == "new" else home_of(visit))
        try:
            begun = self._restores.begin(visit.person, visit.token, wish)
        except NbdError as error:
            return await self._ask_restore(visit, id, at, error)
        return self._render.redirect(f"/home/restores/{begun.id}")

    async def restoring(self, visit: Visit, id: str) -> web.StreamResponse:
        found = self._restores.of(visit.person, id)
        return self._page(visit, "homes-restoring.html", restore=found, at=At(found.asked.path))

    async def stop(self, visit: Visit, id: str) -> web.StreamResponse:
        self._restores.stop(visit.person, id)
        return self._render.redirect(f"/home/restores/{id}")

    def _page(self, visit: Visit, template: str, *, status: int = 200, **values: Any) -> web.Response:
        return self._render.page(visit, template, status=status, here="kept", now=time.time(), w=words, place=home_of(visit), **values)

    async def _status(self, visit: Visit) -> HomeView:
        return await self._core.get(HomeView, "/v1/home", visit.token)

    async def _snapshots(self, visit: Visit) -> Sequence[SnapshotView]:
        return await self._core.get_list(SnapshotView, "/v1/home/snapshots", visit.token)

    async def _usage(self, visit: Visit) -> UsageView:
        return await self._core.get(UsageView, "/v1/home/usage", visit.token)

    @staticmethod
    async def _section(asking: Awaitable[T]) -> T | NbdError:
        """A part of a page, or why it is not there: the others are shown all the same."""
        try:
            async with asyncio.timeout(SECTION_SECONDS):
                return await asking
        except NbdError as error:
            return error
        except TimeoutError:
            return NbdError("this takes too long just now", hint="reload the page in a while")


def asked(visit: Visit) -> At:
    """The place that the address names: read from its bytes, for a name need not be text."""
    query = visit.request.raw_path.partition("?")[2]
    return At(dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape")).get("path", "").strip("/"))


def snapshot_id(text: str) -> str:
    """Raises NotFound: what goes into an address of core must be one."""
    if not text.isalnum() or not text.isascii() or len(text) > 64:
        raise NotFound("there is no such snapshot", hint="those that there are stand on the page of your home")
    return text


def chosen(snapshots: Sequence[SnapshotView], id: str) -> SnapshotView:
    """Raises NotFound. "latest" is the newest."""
    found = snapshots[:1] if id == "latest" else [one for one in snapshots if one.id == id]
    if not found:
        raise NotFound("this snapshot is not there any more", hint="those that there are stand on the page of your home")
    return found[0]


def home_of(visit: Visit) -> str:
    sign_in = visit.decision.sign_in
    assert sign_in is not None
    return sign_in.person.home


def compared(path: str, before: TextView, after: TextView) -> list[tuple[str, str]] | None:
    """Lines with what they are: added, gone, same, place. None where it is no text, or too long."""
    if before.why_not or after.why_not or before.cut or after.cut or len(before.text) + len(after.text) > MOST_COMPARED:
        return None
    old, new = words.as_lines(path, before.text), words.as_lines(path, after.text)
    kinds = {"+": "added", "-": "gone", "@": "place", " ": "same"}
    found = list(difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm=""))[2:]
    return [(kinds[line[0]], line if line[0] == "@" else line[1:]) for line in found]
