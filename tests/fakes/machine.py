"""A machine in memory: containers that live and die, networks, folders, logs, editors. Passes tests/contracts/test_containers.py.

What it does on demand is what the real one was seen to do: a Podman that is silent, containers that end by themselves or at once, editors
that never answer, a home that is not there. Nothing in it knows the manager.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass, field

from nbd import wire
from nbd.attachments import BringView
from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, StartFailed
from nbd.gpus.model import Lease
from nbd.homemessages import HomeBrief, HomesBrief
from nbd.homes.attached.model import Attachment
from nbd.messages import HomeView, RestoreView, Saving, SnapshotView
from nbd.notebooks.model import Notebook, Occupant, Run
from nbd.notebooks.ports import Process
from nbd.notebooks.reconcile import Seen
from nbd.notebooks.spec import LABEL, ContainerSpec
from nbd.unixdoor import Place

SIGNALS = {"SIGTERM": 15, "SIGKILL": 9}


@dataclass
class Image:
    """How containers of an image behave."""

    answers: bool = True
    ends_at_once: int | None = None
    """Its exit code, when its editor ends right after its start."""
    ignores_term: bool = False
    has_editor: bool = True


@dataclass
class Box:
    spec: ContainerSpec
    pid: int = 0
    state: str = "created"
    exit_code: int | None = None
    oom: bool = False


@dataclass
class FakeMachine:
    images: dict[str, Image] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    trouble: NbdError | None = None
    """Raised by each call to Podman while set."""
    hidden: set[str] = field(default_factory=set)
    """Containers that Podman does not list although they live."""
    networks: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    pause: float = 0.0
    """Seconds that each call to Podman takes."""
    slow: dict[str, float] = field(default_factory=dict)
    """More seconds for one kind of call."""
    stuck: set[str] = field(default_factory=set)
    """Containers whose processes hang in a driver: no signal ends them, and Podman cannot remove them."""
    calls: list[str] = field(default_factory=list)
    homes_fit: bool = True
    sync_trouble: NbdError | None = None
    store_seconds: float = 0.0
    briefs: dict[str, HomeBrief] = field(default_factory=dict)
    """How homes stand, by their person."""
    to_bring: int = 0
    """Steps until the home is what its snapshots have."""
    bring_trouble: NbdError | None = None
    flush_troubles: list[NbdError] = field(default_factory=list)
    """What the next snapshots end in, one each."""
    watched: set[str] = field(default_factory=set)
    flushed: list[tuple[str, str, str, frozenset[str]]] = field(default_factory=list)
    """Whose home, event, name, and which containers ran at that moment."""
    brought: list[tuple[str, str, str]] = field(default_factory=list)
    """Attached data that came before a start: id, whose, URL."""
    bring_seconds: float = 0.0
    bucket_trouble: NbdError | None = None
    attached: set[str] = field(default_factory=set)
    """What sync was told is in use."""
    carried: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)
    """What was to go up at an end, and which containers ran at that moment."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))
    _watchers: dict[int, list[Callable[[], None]]] = field(default_factory=dict)

    def end(self, container: str, code: int, *, oom: bool = False) -> None:
        """The container's process ends."""
        box = self.boxes[container]
        box.state, box.exit_code, box.oom = "exited", code, oom
        for call in self._watchers.pop(box.pid, []):
            asyncio.get_running_loop().call_soon(call)

    def alive(self) -> list[str]:
        return [container for container, box in self.boxes.items() if box.state == "running"]

    async def podman(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(self.pause + self.slow.get(call, 0.0))
        if self.trouble:
            raise self.trouble

    def box_of(self, name: str) -> tuple[str, Box] | None:
        return next(((id, box) for id, box in self.boxes.items() if name in (id, box.spec.name)), None)

    def next_number(self) -> int:
        return next(self._numbers)

    def watch(self, pid: int, call: Callable[[], None]) -> Callable[[], None]:
        living = any(box.pid == pid and box.state == "running" for box in self.boxes.values())
        if not living:
            return asyncio.get_running_loop().call_soon(call).cancel
        self._watchers.setdefault(pid, []).append(call)
        return lambda: self._watchers.get(pid, []).remove(call) if call in self._watchers.get(pid, []) else None


class FakeContainers:
    def __init__(self, machine: FakeMachine, instance: str) -> None:
        self._machine = machine
        self._instance = instance

    async def seen(self) -> Sequence[Seen]:
        await self._machine.podman("seen")
        return [self._seen(id, box) for id, box in self._machine.boxes.items() if self._ours(box) and id not in self._machine.hidden]

    async def image_exists(self, reference: str) -> bool:
        await self._machine.podman("image_exists")
        return reference in self._machine.images

    async def create(self, spec: ContainerSpec) -> str:
        await self._machine.podman("create")
        if spec.image not in self._machine.images:
            raise StartFailed("no such image", code="image_missing")
        if self._machine.box_of(spec.name):
            raise Conflict(f"the name {spec.name} is in use")
        container = f"{self._machine.next_number():064x}"
        self._machine.boxes[container] = Box(spec)
        return container

    async def start(self, container: str) -> Process:
        await self._machine.podman("start")
        box = self._machine.boxes[container]
        image = self._machine.images[box.spec.image]
        if not image.has_editor:
            box.state, box.exit_code = "exited", 127
            raise StartFailed("the image has no such editor", code="editor_missing")
        box.pid, box.state = self._machine.next_number(), "running"
        if image.ends_at_once is not None:
            self._machine.end(container, image.ends_at_once)
        return Process(box.pid, box.pid)

    async def process(self, container: str) -> Process | None:
        await self._machine.podman("process")
        found = self._machine.box_of(container)
        return Process(found[1].pid, found[1].pid) if found and found[1].state == "running" and self._ours(found[1]) else None

    async def kill(self, container: str, signal: str) -> None:
        await self._machine.podman(f"kill {signal}")
        found = self._machine.box_of(container)
        if not found or found[1].state != "running" or found[0] in self._machine.stuck:
            return
        if signal == "SIGKILL" or not self._machine.images[found[1].spec.image].ignores_term:
            self._machine.end(found[0], 128 + SIGNALS[signal])

    async def remove(self, container: str) -> None:
        await self._machine.podman("remove")
        found = self._machine.box_of(container)
        if found and self._ours(found[1]):
            if found[0] in self._machine.stuck:
                raise Deadline("its processes do not end")
            if found[1].state == "running":
                self._machine.end(found[0], 137)
            del self._machine.boxes[found[0]]

    async def look(self, container: str) -> Seen | None:
        await self._machine.podman("look")
        found = self._machine.box_of(container)
        return self._seen(*found) if found and self._ours(found[1]) else None

    async def leases(self) -> Sequence[Lease]:
        await self._machine.podman("leases")
        living = [box for box in self._machine.boxes.values() if box.state == "running" and self._ours(box)]
        return [lease for box in living for lease in wire.decode(tuple[Lease, ...], box.spec.labels[f"{LABEL}leases"])]

    def _ours(self, box: Box) -> bool:
        return box.spec.labels.get(f"{LABEL}instance") == self._instance

    def _seen(self, container: str, box: Box) -> Seen:
        labels = box.spec.labels
        label = wire.decode(Notebook, labels[f"{LABEL}notebook"])
        alive = box.state == "running"
        made = box.state != "created"
        return Seen(container, labels[f"{LABEL}id"], int(labels[f"{LABEL}run"]), alive, made, box.exit_code, box.oom, label=label)


class FakeProcesses:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    def on_exit(self, process: Process, call: Callable[[], None]) -> Callable[[], None]:
        return self._machine.watch(process.pid, call)

    def age_seconds(self, process: Process) -> float:
        return 60.0

    def memory_kills(self, process: Process) -> Callable[[], int]:
        return lambda: sum(box.oom for box in self._machine.boxes.values() if box.pid == process.pid)

    def of_container(self, container: str) -> Collection[int]:
        box = self._machine.boxes.get(container)
        return {box.pid} if box and box.state == "running" else set()


class FakeNetworks:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def ensure(self, notebook: str) -> str:
        await self._machine.podman("network")
        self._machine.networks.add(notebook)
        return f"nbd-{notebook}"

    async def remove(self, notebook: str) -> None:
        await self._machine.podman("remove network")
        self._machine.networks.discard(notebook)

    async def existing(self) -> Collection[str]:
        await self._machine.podman("networks")
        return set(self._machine.networks)

    async def guard(self) -> None:
        return


class FakeFolders:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def make(self, notebook: str, who: Occupant) -> str:
        await asyncio.sleep(self._machine.pause)
        self._machine.folders.add(notebook)
        return f"/run/{notebook}"

    async def identity(self, who: Occupant, passwd: str, group: str) -> str:
        return f"/run/identity/{who.uid}"

    async def remove(self, notebook: str) -> None:
        await asyncio.sleep(self._machine.pause)
        self._machine.folders.discard(notebook)

    def socket(self, notebook: str) -> str:
        return f"/run/{notebook}/editor.sock"

    async def existing(self) -> Collection[str]:
        return set(self._machine.folders)


class FakeEditors:
    """Answers when the notebook's container lives and its image's editor answers."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def wait_ready(self, place: Place, path: str, seconds: float) -> None:
        notebook = place.path.split("/")[2]
        while not self._answers(notebook):
            await asyncio.sleep(0.001)
            seconds -= 0.001
            if seconds < 0:
                raise Deadline("the editor did not answer")

    def _answers(self, notebook: str) -> bool:
        found = self._machine.box_of(f"nbd-{notebook}")
        return bool(found and found[1].state == "running" and self._machine.images[found[1].spec.image].answers)


class FakeHomes:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def ready(self, who: Occupant, tell: Callable[[RestoreView], None], *, in_use: bool) -> None:
        machine = self._machine
        if not machine.homes_fit:
            raise HostUnfit(f"the home {who.home} does not exist", code="home_unfit", hint="make it")
        while machine.to_bring and not in_use:
            if machine.bring_trouble:
                raise machine.bring_trouble
            await asyncio.sleep(0.001)
            machine.to_bring -= 1
            tell(RestoreView(done=machine.to_bring == 0, to=who.home, snapshot=SnapshotView("ab", 1.0, "stop"), entries=1, total=2))

    async def accept(self, who: Occupant) -> None:
        if self._machine.sync_trouble:
            raise self._machine.sync_trouble
        self._machine.to_bring = 0

    async def watch(self, used: Sequence[Occupant]) -> None:
        if self._machine.sync_trouble:
            raise self._machine.sync_trouble
        self._machine.watched = {who.name for who in used}

    async def briefs(self) -> HomesBrief:
        if self._machine.sync_trouble:
            raise self._machine.sync_trouble
        return HomesBrief(tuple(self._machine.briefs.values()))

    async def status(self, who: Occupant) -> HomeView:
        saving = Saving(3 << 20, 12 << 20) if self._machine.store_seconds else None
        return HomeView(who.home, watched=True, protected=1.0, store="/store", sentence="protected", hint="", saving=saving)

    async def flush(self, who: Occupant, event: str, name: str) -> None:
        alive = {box.spec.name for box in self._machine.boxes.values() if box.state == "running"}
        self._machine.flushed.append((who.name, event, name, frozenset(alive)))
        await asyncio.sleep(self._machine.store_seconds)
        if self._machine.flush_troubles:
            raise self._machine.flush_troubles.pop(0)
        if self._machine.sync_trouble:
            raise self._machine.sync_trouble


class FakeAttachments:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def bring(self, attachment: Attachment, tell: Callable[[BringView], None]) -> None:
        tell(BringView(False, 1, 10, 2, 40))  # noqa: FBT003 - a field of the message
        await asyncio.sleep(self._machine.bring_seconds)
        self._machine.brought.append((attachment.id, attachment.person, attachment.url))
        if self._machine.bucket_trouble:
            raise self._machine.bucket_trouble

    async def use(self, ids: Collection[str]) -> str:
        if self._machine.sync_trouble:
            raise self._machine.sync_trouble
        self._machine.attached = set(ids)
        return "1 attached folder not in step" if self._machine.bucket_trouble else "ok"

    async def flush(self, ids: Collection[str]) -> None:
        alive = {box.spec.name for box in self._machine.boxes.values() if box.state == "running"}
        self._machine.carried.append((frozenset(ids), frozenset(alive)))
        await asyncio.sleep(self._machine.store_seconds)
        if self._machine.bucket_trouble:
            raise self._machine.bucket_trouble


class FakePeople:
    async def occupant(self, name: str) -> Occupant | None:
        return None if name == "nobody" else Occupant(name, 1000 + len(name), 1000, f"/home/{name}")


class FakeLogs:
    def path(self, notebook: str) -> str:
        return f"/logs/{notebook}"

    async def fresh(self, notebook: str) -> None:
        return

    async def tail(self, notebook: str, lines: int) -> tuple[str, ...]:
        return ("its last words",)

    async def follow(self, notebook: str, lines: int, over: Callable[[], bool]) -> AsyncGenerator[str, None]:
        yield "its last words"
        while not over():
            await asyncio.sleep(0.01)

    async def remove(self, notebook: str) -> None:
        return


class MemoryStore:
    """Notebook rows in memory; what survives a crash of the manager in a test."""

    def __init__(self) -> None:
        self.rows: dict[str, Notebook] = {}
        self.history: dict[tuple[str, int], Run] = {}
        self.trouble: NbdError | None = None
        self.pause = 0.0

    async def notebooks(self) -> Sequence[Notebook]:
        return list(self.rows.values())

    async def save(self, notebook: Notebook) -> None:
        await asyncio.sleep(self.pause)
        if self.trouble:
            raise self.trouble
        self.rows[notebook.id] = notebook

    async def forget(self, notebook: str) -> None:
        self.rows.pop(notebook, None)

    async def save_run(self, run: Run) -> None:
        self.history[run.notebook, run.number] = run

    async def runs(self, notebook: str) -> Sequence[Run]:
        return [run for (id, _), run in self.history.items() if id == notebook]
