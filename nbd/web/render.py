"""Pages from templates, and the headers that every answer of the door's own carries. Autoescape is on; nothing is marked safe."""

from __future__ import annotations

import hashlib
import mimetypes
import platform
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from .. import wire
from ..errors import NbdError
from ..messages import Problem, ProblemAnswer
from . import idlewords
from .origins import Origins
from .visit import Visit
from .words import CAN_OPEN, CAN_START, CAN_STOP, FILTERS, zone

FOLDER = Path(__file__).parent
ORIGIN_ONLY = "strict-origin-when-cross-origin"
"""Other origins learn ours and no more: by that word the notebook's own address knows that the Open button led there."""
TITLES = {401: "Not signed in", 403: "Refused", 404: "Not found", 409: "Not now", 421: "Wrong address", 502: "No answer", 503: "One moment"}


class Renderer:
    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self.static = {path.name: path.read_bytes() for path in sorted((FOLDER / "static").iterdir())}
        self.version = hashlib.sha256(b"".join(self.static.values())).hexdigest()[:12]
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._jinja.filters.update(FILTERS)
        self._jinja.globals.update(version=self.version, pages=origins.pages, can_start=CAN_START, can_stop=CAN_STOP, can_open=CAN_OPEN)
        self._jinja.globals.update(host=platform.node(), zone=zone, i=idlewords)
        # A form may lead to a notebook's own address: the Open button does.
        self._policy = (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action 'self' {origins.scheme}://*.{origins.domain}{origins.suffix}"
        )

    def page(self, visit: Visit | None, template: str, *, status: int = 200, referrer: str = ORIGIN_ONLY, **values: Any) -> web.Response:
        """`visit` is None where nothing may be told about who asks."""
        at_notebook = visit is not None and bool(visit.ask.notebook)
        values |= {
            "person": visit.person if visit else "",
            "admin": visit is not None and visit.admin,
            "form_token": visit.form_token if visit else "",
            "assets": "/.nbd/static" if at_notebook else "/static",
            "at_notebook": at_notebook,
        }
        text = self._jinja.get_template(template).render(values)
        answer = web.Response(status=status, text=text, content_type="text/html", charset="utf-8")
        return self.own(answer, referrer)

    def own(self, answer: web.Response, referrer: str = "no-referrer") -> web.Response:
        answer.headers.update(
            {
                "Content-Security-Policy": self._policy,
                "Server": "nbd",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": referrer,
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
            }
        )
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    def redirect(self, to: str) -> web.Response:
        return self.own(web.Response(status=303, headers={"Location": to}), ORIGIN_ONLY)

    def file(self, name: str) -> web.Response:
        content = self.static.get(name)
        if content is None:
            return self.own(web.Response(status=404))
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return self.own(web.Response(body=content, content_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"}))

    def problem(self, visit: Visit | None, error: NbdError, *, to_person: bool) -> web.Response:
        """`to_person`: a browser shows this as a page; otherwise a script reads it."""
        if not to_person:
            text = wire.encode(ProblemAnswer(Problem(error.code, error.message, error.hint, error.retryable)))
            return self.own(web.Response(status=error.status, text=text, content_type="application/json"))
        title = TITLES.get(error.status, "This did not work")
        return self.page(visit, "problem.html", status=error.status, title=title, error=error)
