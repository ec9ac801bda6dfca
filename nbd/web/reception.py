"""What a request to a notebook's origin gets beside the editor's word or in its place: our line in its pages, a page while it is away, a thaw."""

from __future__ import annotations

from aiohttp import web

from ..errors import NbdError, Unreachable
from .access import Row
from .corelink import CoreLink
from .inset import asks_for_page, inset
from .origins import Origins
from .render import Renderer
from .traffic import Traffic
from .visit import Visit
from .waking import person_opens

FROZEN = "FROZEN"


class Reception:
    def __init__(self, origins: Origins, core: CoreLink, render: Renderer, traffic: Traffic) -> None:
        self._origins = origins
        self._core = core
        self.render = render
        self._traffic = traffic
        self._inset = inset(render.version)

    def passes(self, visit: Visit, row: Row) -> bytes:
        """Count what a person does; what is put into the answer."""
        page = asks_for_page(visit.ask, row.view.editor, visit.path)
        self._traffic.asked(row.view.id, visit.ask.method, visit.path, opened=page and self._by_hand(visit))
        return self._inset if page else b""

    async def away(self, visit: Visit, row: Row) -> web.StreamResponse:
        """The editor is not there: a page in its place that comes back by itself, or words for a script. Who opens a frozen one wakes it."""
        trouble: NbdError | None = None
        if row.view.state == FROZEN and self._by_hand(visit):
            try:
                await self._core.woken(visit.token)
            except NbdError as error:
                trouble = error
        if for_person(visit.request):
            return self.render.page(visit, "away.html", status=503, notebook=row.view, ready=False, trouble=trouble)
        state, sentence = row.view.state.lower(), row.view.sentence
        told = f"{row.view.name} is {sentence if sentence.startswith(state) else f'{state}: {sentence}'}"
        hint = "it wakes when its person opens it" if row.view.state == FROZEN else row.view.hint
        return self.render.problem(visit, Unreachable(told, hint=hint, code="notebook_away"), to_person=False)

    def _by_hand(self, visit: Visit) -> bool:
        headers = visit.request.headers
        user, purpose, referer = headers.get("Sec-Fetch-User"), headers.get("Sec-Purpose", ""), headers.get("Referer")
        trusted = self._origins.pages_origins() | {visit.ask.own}
        return for_person(visit.request) and person_opens(visit.ask, user=user, purpose=purpose, referer=referer, trusted=trusted)


def for_person(request: web.BaseRequest) -> bool:
    """Will a person look at the answer? Browsers say so; where they do not, who takes HTML is one."""
    mode = request.headers.get("Sec-Fetch-Mode")
    return mode == "navigate" if mode else "text/html" in request.headers.get("Accept", "")
