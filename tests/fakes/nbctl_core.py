"""Core as nbctl sees it: the API on a real unix socket, with a menu of sins. A test moves the notebooks; who listens to events is told."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from nbd import wire
from nbd.messages import (
    CardView,
    GpusView,
    ImageView,
    NotebookView,
    OpenAnswer,
    PersonView,
    Problem,
    ProblemAnswer,
    ProfileView,
    Progress,
    RunView,
    StatusView,
)

GIB = 1024**3
PATIENCE_SECONDS = 20


class Sin(StrEnum):
    HANG = "accepts, reads, and never answers"
    CLOSE = "closes without a word"
    HALF = "sends half of the answer and closes"
    DRIP = "sends its answer a byte at a time, without end"
    GARBAGE = "answers what is not JSON"
    WRONG = "answers JSON of another shape"
    SPEECHLESS = "answers 500 without a reason"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    body: Any


@dataclass
class FakeCore:
    path: Path
    person: str
    notebooks: dict[str, NotebookView] = field(default_factory=dict)
    runs: tuple[RunView, ...] = ()
    gpus: GpusView = field(default_factory=lambda: GpusView((), simulated=False, reason="no NVIDIA driver on this machine"))
    profiles: tuple[ProfileView, ...] = ()
    images: tuple[ImageView, ...] = ()
    work: Sequence[object] = ()
    """What a build says, line by line."""
    report: object = None
    """What a check says."""
    log: Sequence[str] = ()
    home: Mapping[str, object] = field(default_factory=dict)
    """By the word after /v1/home: what it answers; a list is streamed line by line, a function is asked each time."""
    idle: Mapping[str, object] = field(default_factory=dict)
    """By "METHOD why" and so on: what it answers of a notebook; a function is asked each time."""
    problems: dict[str, tuple[int, Problem]] = field(default_factory=dict)
    """By "METHOD /path"."""
    sins: dict[str, Sin] = field(default_factory=dict)
    """By path."""
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self.told: list[tuple[str, object]] = []
        self.closing = False
        self.streams = 0
        self.cut_streams = 0

    def __enter__(self) -> Self:
        core = self

        class Handler(CoreHandler):
            pass

        Handler.core = core
        self.server = CoreServer(str(self.path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.path.unlink(missing_ok=True)

    def put(self, view: NotebookView, **changes: Any) -> NotebookView:
        view = replace(view, **changes)
        with self.changed:
            self.notebooks[view.id] = view
            self.told.append(("notebook", view))
            self.changed.notify_all()
        return view

    def drop(self, view: NotebookView) -> None:
        with self.changed:
            self.notebooks.pop(view.id, None)
            self.told.append(("gone", {"id": view.id}))
            self.changed.notify_all()

    def cut(self) -> None:
        """Ends the streams there are, as a restart of core does."""
        with self.changed:
            self.cut_streams += 1
            self.changed.notify_all()

    def fresh(self, seen: int, cuts: int) -> list[tuple[str, object]]:
        """What was told after the first `seen`, once there is something; nothing when the stream is to end."""
        with self.changed:
            self.changed.wait_for(lambda: self.closing or self.cut_streams > cuts or len(self.told) > seen, PATIENCE_SECONDS)
            return [] if self.closing or self.cut_streams > cuts else self.told[seen:]

    def fresh_log(self, sent: int) -> Sequence[str]:
        with self.changed:
            self.changed.wait_for(lambda: self.closing or self.cut_streams > 0 or len(self.log) > sent, PATIENCE_SECONDS)
            return self.log[sent:]

    def write_log(self, *lines: str) -> None:
        with self.changed:
            self.log = (*self.log, *lines)
            self.changed.notify_all()

    def wait(self, what: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE_SECONDS), f"it did not come; asked so far: {self.asked}"

    def wait_for_stream(self, number: int = 1) -> None:
        """Until somebody has been told all there is on the `number`th stream."""
        self.wait(lambda: self.streams >= number)

    def find(self, word: str) -> NotebookView | None:
        owner, _, name = word.rpartition("/")
        for view in self.notebooks.values():
            if view.id == word or (view.name == name and view.owner == (owner or self.person)):
                return view
        return None


class CoreServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to print a traceback for."""


class CoreHandler(BaseHTTPRequestHandler):
    core: FakeCore
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PATCH(self) -> None:
        self.serve()

    def do_DELETE(self) -> None:
        self.serve()

    def serve(self) -> None:
        self.close_connection = True
        url = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        with self.core.changed:
            self.core.asked.append(Asked(self.command, url.path, query, json.loads(text) if text else None))
            self.core.changed.notify_all()
        problem = self.core.problems.get(f"{self.command} {url.path}")
        if sin := self.core.sins.get(url.path):
            self.commit(sin)
        elif problem:
            self.answer(ProblemAnswer(problem[1]), problem[0])
        else:
            self.route([unquote(part) for part in url.path.split("/")[2:]], query, json.loads(text) if text else {})

    def commit(self, sin: Sin) -> None:
        if sin is Sin.HANG:
            with self.core.changed:
                self.core.changed.wait_for(lambda: self.core.closing, PATIENCE_SECONDS)
        elif sin is Sin.HALF:
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"versi')
        elif sin is Sin.DRIP:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not self.core.closing:
                self.wfile.write(b" ")
                time.sleep(0.02)
        elif sin is Sin.GARBAGE:
            self.send(b"<html>hello</html>")
        elif sin is Sin.WRONG:
            self.send(b'{"surprise": 1}')
        elif sin is Sin.SPEECHLESS:
            self.send(b"oops", 500)

    def answer(self, value: object, status: int = 200) -> None:
        self.send(wire.encode(value).encode(), status)

    def send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = line.encode("utf-8", "surrogateescape")
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def route(self, parts: list[str], query: Mapping[str, str], body: Any) -> None:
        core = self.core
        simple: dict[str, Callable[[], object]] = {
            "status": self.status,
            "gpus": lambda: core.gpus,
            "profiles": lambda: core.profiles,
            "images": lambda: core.images,
            "login": lambda: OpenAnswer("http://localhost:8080/enter?ticket=abc", time.time() + 60),
        }
        if parts == ["events"]:
            self.stream(self.events())
        elif parts[0] == "home":
            found = core.home["/".join(parts[1:])]
            found = found() if callable(found) else found
            self.stream(wire.encode(line) + "\n" for line in found) if isinstance(found, list) else self.answer(found)
        elif parts[0] == "notebooks":
            self.notebook(parts[1:], query, body)
        elif parts[0] == "images" and parts[2:] == ["check"]:
            self.answer(core.report)
        elif parts[0] == "images" and len(parts) == 3:
            self.stream(wire.encode(line) + "\n" for line in core.work)
        elif parts[0] == "gpus" and len(parts) == 3:
            core.gpus = replace(core.gpus, cards=tuple(replace(c, quarantine=None) if c.uuid == parts[1] else c for c in core.gpus.cards))
            self.answer(core.gpus)
        elif parts[0] == "profiles" and len(parts) == 2:
            offered = [profile for profile in core.profiles if profile.name == parts[1]]
            self.answer(offered[0]) if offered else self.missing(f"no profile {parts[1]!r}")
        else:
            self.answer(simple[parts[0]]())

    def missing(self, message: str) -> None:
        self.answer(ProblemAnswer(Problem("not_found", message, "nbctl ls")), 404)

    def notebook(self, parts: list[str], query: Mapping[str, str], body: Any) -> None:
        core = self.core
        if not parts:
            mine = tuple(view for view in core.notebooks.values() if view.owner == core.person or query.get("all") == "1")
            self.start(body) if self.command == "POST" else self.answer(mine)
            return
        view = core.find(parts[0])
        act = parts[1] if len(parts) > 1 else ""
        if view is None:
            self.missing(f"no notebook {parts[0]!r}")
        elif found := core.idle.get(f"{self.command} {'/'.join(parts[1:])}"):
            self.answer(found() if callable(found) else found)
        elif act == "logs":
            self.stream(f"{line}\n" for line in self.log_lines(follow=query.get("follow") == "1", last=int(query["lines"])))
        elif act == "runs":
            self.answer(core.runs)
        elif act == "open":
            self.answer(OpenAnswer(f"http://{view.id}.localhost:8080/enter?ticket=abc", time.time() + 60))
        elif act == "stop":
            self.answer(core.put(view, state="STOPPING", sentence="it is given time to save"))
        elif self.command == "DELETE":
            self.answer(view)
            core.put(view, state="DELETING", sentence="it is being removed")
        else:
            self.answer(view)

    def start(self, body: Any) -> None:
        view = self.core.find(body["name"])
        if view and view.state == "RUNNING":
            self.answer(view)
            return
        if view and view.state == "STOPPING":  # wanted again; it starts when it has stopped
            self.answer(view, 201)
            return
        made = view or notebook(body["name"], self.core.person)
        starting = Progress("image", "looking for the image")
        self.answer(self.core.put(made, state="STARTING", sentence="it starts", run=made.run + 1, progress=starting), 201)

    def events(self) -> Iterator[str]:
        core = self.core
        with core.changed:
            present, seen, cuts = list(core.notebooks.values()), len(core.told), core.cut_streams
        for view in present:
            if view.owner == core.person:
                yield event("notebook", view)
        yield event("synced", {})
        with core.changed:
            core.streams += 1
            core.changed.notify_all()
        while fresh := core.fresh(seen, cuts):
            seen += len(fresh)
            yield from (event(kind, data) for kind, data in fresh if not isinstance(data, NotebookView) or data.owner == core.person)

    def log_lines(self, *, follow: bool, last: int) -> Iterator[str]:
        core = self.core
        log = core.log  # As it is now: a line that comes while these are sent is told after them.
        yield from log[max(len(log) - last, 0) :]
        sent = len(log)
        while follow and (lines := core.fresh_log(sent)):
            sent += len(lines)
            yield from lines

    def status(self) -> StatusView:
        counts: dict[str, int] = {}
        for view in self.core.notebooks.values():
            counts[view.state] = counts.get(view.state, 0) + 1
        person = PersonView(self.core.person, 1000, admin=False, home=f"/home/{self.core.person}")
        parts = {"podman": "ok", "gpus": self.core.gpus.reason or "ok"}
        return StatusView("0.1.0", "i1", "box", time.time() - 7500, person, counts, parts, self.core.gpus.simulated, "http://localhost:8080/")


def event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {wire.encode(data)}\n\n"


def notebook(name: str, owner: str, **changes: Any) -> NotebookView:
    identity = f"n{name[:4].ljust(4, '0')}{owner[:5].ljust(5, '0')}"
    view = NotebookView(
        id=identity,
        name=name,
        owner=owner,
        state="STOPPED",
        profile="gpu-1",
        editor="jupyter",
        url=f"http://{identity}.localhost:8080/",
        sentence="it is stopped",
        hint="",
        created=time.time() - 300000,
    )
    return replace(view, **changes)


def card(uuid: str, **changes: Any) -> CardView:
    whole = CardView(uuid, "NVIDIA RTX A4000", 16 * GIB, 9 * GIB, 0.87, 64, 121.0)
    return replace(whole, **changes)
