"""The verbs for what a notebook is made of: profiles, images, settings."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInput, NbdError, NotFound, Unreachable
from ..messages import CheckReport, ImageView, ProfileView, Progress
from .client import parsed, problem_error, route, typed, typed_all
from .follow import progress_cells
from .grammar import Arg, Call, Verb, Words
from .output import emit
from .render import Cell, Live, facts, table
from .text import ago, log_line, running, size, took

BASES = ("auto", "registry", "debootstrap")


def profile_ls(call: Call) -> int:
    messages = call.client.get("/v1/profiles")
    views = typed_all(ProfileView, messages)
    if call.args.names:
        emit(call, [view.name for view in views], lambda: call.out.say_all([call.out.line(view.name) for view in views]))
        return 0
    emit(call, messages, lambda: _tell_profiles(call, views))
    return 0


def _tell_profiles(call: Call, views: Sequence[ProfileView]) -> None:
    if not views:
        call.err.tell("no profiles; an admin puts them into /etc/nbd/profiles.d")
        return
    rows = [(Cell(view.name, "bold"), view.title, f"{view.cpus:g}", size(view.memory_bytes), view.gpu_text, now_cell(view)) for view in views]
    call.out.say_all(table(call.out, ("PROFILE", "TITLE", ">CPUS", ">MEMORY", "GPU", "NOW"), rows))


def now_cell(view: ProfileView) -> Cell:
    return Cell(view.reason or ("free" if view.available else "unavailable"), "green" if view.available else "yellow")


def profile_show(call: Call) -> int:
    message = call.client.get(route("profiles", call.args.name))
    view = typed(ProfileView, message)
    emit(call, message, lambda: _tell_profile(call, view))
    return 0


def _tell_profile(call: Call, view: ProfileView) -> None:
    call.out.say(Cell(view.name, "bold"), f"  {view.title}")
    if view.description:
        call.out.tell(f"  {view.description}")
    call.out.raw("")
    pairs: list[tuple[str, Cell | str]] = [
        ("now", now_cell(view)),
        ("GPU", view.gpu_text or "none"),
        ("CPUs", f"{view.cpus:g}"),
        ("memory", size(view.memory_bytes)),
        ("editor", view.editor),
        ("image", view.image),
    ]
    call.out.say_all(facts(call.out, pairs))


def profile_check(call: Call) -> int:
    """Local: an admin checks a file before nbd ever sees it. Exit code 2 where it has problems."""
    from ..profiles import check_file  # the settings' table is needed by no other verb

    if not os.path.exists(call.args.file):  # noqa: PTH110 - pathlib would cost 4 ms of every start
        raise InvalidInput(f"there is no file {call.args.file}", hint="nbd's own are in /etc/nbd/profiles.d", code="no_file")
    problems = check_file(call.args.file)
    found = [{"text": problem.text, "hint": problem.hint} for problem in problems]
    emit(call, {"file": call.args.file, "problems": found}, lambda: None)
    if call.json:
        return 2 if problems else 0
    for problem in problems:
        call.out.tell(problem.text)
        if problem.hint:
            call.out.tell(f"  hint: {problem.hint}", "yellow")
    if not problems:
        call.out.tell(f"{call.args.file}: all is well", "green")
    return 2 if problems else 0


def image_ls(call: Call) -> int:
    messages = call.client.get("/v1/images")
    views = typed_all(ImageView, messages)
    if call.args.names:
        emit(call, [view.name for view in views], lambda: call.out.say_all([call.out.line(view.name) for view in views]))
        return 0
    emit(call, messages, lambda: _tell_images(call, views))
    return 0


def _tell_images(call: Call, views: Sequence[ImageView]) -> None:
    if not views:
        call.err.tell("no profile names an image")
        return
    rows = [
        (
            Cell(view.name, "bold"),
            Cell("present", "green") if view.present else Cell("missing", "red"),
            size(view.size_bytes),
            ago(view.created, call.now),
            view.reference,
            ", ".join(f"{tool} {version}" for tool, version in view.versions.items()),
        )
        for view in views
    ]
    call.out.say_all(table(call.out, ("IMAGE", "HERE", ">SIZE", "MADE", "REFERENCE", "CONTAINS"), rows))
    missing = [view.name for view in views if not view.present]
    if missing:
        call.err.tell(f"hint: nbctl image build {missing[0]}", "yellow")


def image_build(call: Call) -> int:
    """Follows the build to its end and tells of the image then."""
    name, path = call.args.name, f"{route('images', call.args.name, 'build')}?base={call.args.base}"
    with Live(call.err, shown=not call.json) as live:
        work = Work(call, live, f"building {name}")
        for line in call.client.lines("POST", path, work.tick):
            if work.see(parsed(line.encode())):
                break
        else:
            raise Unreachable(f"nbd broke off while building {name}", hint="it may be restarting: try again", code="broken_off")
    messages = call.client.get("/v1/images")
    views = typed_all(ImageView, messages)
    own = [number for number, view in enumerate(views) if view.name == name]
    if not own:
        raise NotFound(f"it was built, and no profile names the image {name}", hint="nbctl image ls")
    emit(call, messages[own[0]], lambda: _tell_images(call, [views[own[0]]]))
    return 0


def image_check(call: Call) -> int:
    """Exit code 1 where the image is not fit."""
    with Live(call.err, shown=not call.json) as live:
        # A try takes as long as the editor does; as a stream, it may, while core answers.
        text = "".join(call.client.lines("POST", route("images", call.args.name, "check"), Work(call, live, f"checking {call.args.name}").tick))
    message = parsed(text.encode())
    report = typed(CheckReport, message)
    emit(call, message, lambda: _tell_check(call, report))
    return 1 if report.problems else 0


def _tell_check(call: Call, report: CheckReport) -> None:
    out = call.out
    for problem in report.problems:
        out.tell(problem, "red")
    out.say_all([f"  | {log_line(line)}" for line in report.log])
    if not report.problems:
        out.tell(f"{report.reference} is fit for use", "green")
    pairs: list[tuple[str, Cell | str]] = [("editor answers", "" if report.ready_seconds is None else f"after {took(report.ready_seconds)}")]
    pairs += [(tool, said or Cell("missing", "red")) for tool, said in {**report.versions, **report.tools}.items()]
    out.say_all(facts(out, pairs))


class Work:
    """What core tells of a build: a bar on a terminal, else one plain line for each new step."""

    def __init__(self, call: Call, live: Live, title: str) -> None:
        self.call = call
        self.live = live
        self.title = title
        self.progress: Progress | None = None
        self.began = time.monotonic()

    def see(self, message: Any) -> bool:
        """True when it is done. Raises the problem that ended it."""
        if isinstance(message, dict) and "error" in message:
            raise problem_error(message["error"])
        if isinstance(message, dict) and message.get("done") is True:
            return True
        progress = typed(Progress, message)
        new = self.progress is None or (progress.phase, progress.text) != (self.progress.phase, self.progress.text)
        self.progress = progress
        if new and not self.live.shown and not self.call.json:
            self.call.err.tell(f"{progress.phase}: {progress.text}")
            self.call.err.stream.flush()
        self.tick()
        return False

    def tick(self) -> None:
        screen, step = self.live.screen, self.progress
        lines = [screen.line(Cell(self.title, "bold"), "  ", Cell(running(time.monotonic() - self.began), "dim"))]
        if step:
            lines.append(screen.line("  ", Cell(step.phase.ljust(9), "cyan"), " ", *progress_cells(screen, step)))
        self.live.draw(lines)


def config(call: Call) -> int:
    from ..config import reference  # the settings' table is needed by no other verb

    emit(call, {"reference": reference()}, lambda: call.out.raw(reference().rstrip("\n")))
    return 0


def version(call: Call) -> int:
    from .. import __version__

    try:
        running: str | None = str(call.client.get("/v1/status")["version"])
        why = ""
    except (NbdError, KeyError, TypeError) as error:
        running, why = None, error.message if isinstance(error, NbdError) else "it does not say"
    told = f"nbd   {running} at {call.client.path}" if running else f"nbd: {why}"
    lines = (call.out.line(f"nbctl {__version__}"), call.out.line(told))
    emit(call, {"version": __version__, "daemon": running, "socket": call.client.path}, lambda: call.out.say_all(lines))
    return 0


NAMES = Arg(("--names",), "only the names, one a line", kind=None)
PROFILE = Arg(("name",), "the profile: nbctl profile ls", metavar="PROFILE", words=Words.PROFILES)
IMAGE = Arg(("name",), "the image: nbctl image ls", metavar="IMAGE", words=Words.IMAGES)
VERBS = (
    Verb(
        "profile",
        "what notebooks can run on",
        verbs=(
            Verb("ls", "list the profiles that you may use, and what is free now", profile_ls, (NAMES,)),
            Verb("show", "tell all about one profile", profile_show, (PROFILE,)),
            Verb(
                "check",
                "check a profile's file before nbd reads it",
                profile_check,
                (Arg(("file",), "a file as in /etc/nbd/profiles.d", metavar="FILE", words=Words.FILES),),
            ),
        ),
    ),
    Verb(
        "image",
        "what notebooks are made from",
        verbs=(
            Verb("ls", "list the images that profiles name", image_ls, (NAMES,)),
            Verb(
                "build",
                "build an image, with a container registry or without any",
                image_build,
                (IMAGE, Arg(("--base",), "where its base comes from: auto, registry or debootstrap", default="auto", choices=BASES)),
            ),
            Verb("check", "start an image once and see that its editor answers", image_check, (IMAGE,)),
        ),
    ),
    Verb("config", "print every setting with its meaning", config),
    Verb("version", "print the versions of nbctl and nbd", version),
)
