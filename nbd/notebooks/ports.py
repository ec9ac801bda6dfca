"""What the notebook slice needs of the world. Each port says what is missing, what is worth a retry, and what may be called twice.

Every method answers within a deadline of its own or raises Deadline; a part that is not there raises Unreachable. Nothing blocks the loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..attachments import BringView
from ..gpus.model import Grant, Lease, Refusal, Request
from ..homemessages import HomesBrief
from ..homes.attached.model import Attachment
from ..messages import HomeView, RestoreView
from ..unixdoor import Place
from .model import Notebook, Occupant, Run
from .reconcile import Seen
from .spec import ContainerSpec


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for another: a pid is used again, pid and start time are not."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat: clock ticks since boot."""


class Containers(Protocol):
    """Podman. Sees and touches only containers that carry this instance's label."""

    async def seen(self) -> Sequence[Seen]:
        """All of ours, dead and half-made ones too; `alive` is checked against the kernel."""

    async def image_exists(self, reference: str) -> bool: ...

    async def create(self, spec: ContainerSpec) -> str:
        """Its id. Raises Conflict when the name is taken, StartFailed(image_missing), HostUnfit(disk_full, cdi_missing, …)."""

    async def start(self, container: str) -> Process:
        """Start it; the process is the container's first. Raises StartFailed(editor_missing) when the image has no such command."""

    async def process(self, container: str) -> Process | None:
        """Its first process while that is really alive."""

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal to its first process; a dead or absent container is no error."""

    async def remove(self, container: str) -> None:
        """Remove it with all that belongs to it, killing first. Absent is done; may be called twice."""

    async def look(self, container: str) -> Seen | None: ...

    async def leases(self) -> Sequence[Lease]:
        """What the labels of all living containers say of leases."""


class Logs(Protocol):
    """What editors print: kept on the host, at most a few MiB a notebook, readable when Podman is not."""

    def path(self, notebook: str) -> str:
        """Where the notebook's container writes it."""

    async def fresh(self, notebook: str) -> None:
        """Begin anew: the last run's lines go."""

    async def tail(self, notebook: str, lines: int) -> tuple[str, ...]:
        """The last lines, oldest first; empty when there are none."""

    def follow(self, notebook: str, lines: int, over: Callable[[], bool]) -> AsyncGenerator[str, None]:
        """The last lines, then each new one, until nothing more can come (`over`, and all of it told) or the iterator is closed."""

    async def remove(self, notebook: str) -> None: ...


class Networks(Protocol):
    """One network a notebook, from which neither this box nor another notebook can be reached, from the first packet."""

    async def ensure(self, notebook: str) -> str:
        """The network's name; made, and its rules in force, when this returns."""

    async def remove(self, notebook: str) -> None:
        """Absent is done."""

    async def existing(self) -> Collection[str]:
        """Ids of the notebooks that have a network."""

    async def guard(self) -> None:
        """Put nbd's rules in force if somebody flushed them."""


class Processes(Protocol):
    """The kernel's view of processes."""

    def on_exit(self, process: Process, call: Callable[[], None]) -> Callable[[], None]:
        """Call once when it has ended (at once if it has); returns what cancels that. Seen within milliseconds, whatever Podman does."""

    def age_seconds(self, process: Process) -> float:
        """Since it was started, by the kernel's clock; 0 for one that is gone."""

    def memory_kills(self, process: Process) -> Callable[[], int]:
        """What tells how often the kernel ended a process of this one's container for want of memory: 0 where it cannot be known.

        Ask for it while the process lives; what it returns may be called at the moment of its end, before the cgroup is taken away.
        """

    def of_container(self, container: str) -> Collection[int]:
        """Every living pid in the container's cgroup; empty when it is gone."""


class EditorDoor(Protocol):
    async def wait_ready(self, place: Place, path: str, seconds: float) -> None:
        """Return as soon as `path` answers 200 there, from the person's own editor. Raises Deadline after `seconds`."""


class Homes(Protocol):
    async def ready(self, who: Occupant, tell: Callable[[RestoreView], None], *, in_use: bool) -> None:
        """Return when the home is complete and the person's: one in which nobody has worked, or only another box since, is brought to its newest
        snapshot, and `tell` hears how far that is. One that is `in_use` by another notebook is left as it is. Asked again, it goes on where it
        was. Raises HostUnfit(home_unfit, home_not_back)."""

    async def accept(self, who: Occupant) -> None:
        """The home is as it should be, empty or half: it is not brought back at the next start, and recorded as it is."""

    async def watch(self, used: Sequence[Occupant]) -> None:
        """Notebooks run in exactly these homes: they are kept, all others rest. May be told again and again."""

    async def briefs(self) -> HomesBrief:
        """How all homes stand of which anything is known. Raises Unreachable."""

    async def status(self, who: Occupant) -> HomeView:
        """How the home is kept, and how far what is just being saved is. Raises Unreachable."""

    async def flush(self, who: Occupant, event: str, name: str) -> None:
        """A snapshot of what is there now, tied to `event`, in the store when this returns. Raises why not; it stays wanted all the same."""


class Attachments(Protocol):
    """Attached data: folders on this box that are kept like a part of a bucket."""

    async def bring(self, attachment: Attachment, tell: Callable[[BringView], None]) -> None:
        """Return when its folder is there and in step with the bucket; `tell` hears how far that is. Asked again, it goes on where it was. Its folder
        is there also when this raises: Unreachable where the store or sync is away, HostUnfit, InvalidInput."""

    async def use(self, ids: Collection[str]) -> str:
        """Notebooks work in exactly these. May be told again and again. Answers how all are: "ok", or what is wrong with how many."""

    async def flush(self, ids: Collection[str]) -> None:
        """Return when what is in these folders now is in their buckets. Raises why not; it is tried again all the same."""


class Folders(Protocol):
    """The notebook's folder on the host: where its editor's socket is, closed to everybody but its person and the web program."""

    async def make(self, notebook: str, who: Occupant) -> str:
        """The folder's path, empty of an old socket. May be called twice."""

    async def identity(self, who: Occupant, passwd: str, group: str) -> str:
        """The path of a folder with these two files."""

    async def remove(self, notebook: str) -> None: ...

    def socket(self, notebook: str) -> str: ...

    async def existing(self) -> Collection[str]: ...


class People(Protocol):
    async def occupant(self, name: str) -> Occupant | None: ...


class Gpus(Protocol):
    """The pool, as far as a start and a stop need it."""

    async def preview(self, request: Request) -> Grant | Refusal: ...

    async def lease(self, notebook: str, holder: str, request: Request) -> Grant | Refusal: ...

    async def wait(self, notebook: str, holder: str, request: Request, on_position: Callable[[int, str], None]) -> Grant: ...

    async def release(self, notebook: str, pids: Collection[int]) -> tuple[str, ...]: ...

    async def quarantine(self, card: str, reason: str) -> None: ...

    async def rebuild(self, seen: Iterable[Lease]) -> None: ...


class Leases(Protocol):
    """The leases as recorded: an admin may read them while the driver is silent."""

    async def leases(self) -> Sequence[Lease]: ...


class Store(Protocol):
    """Rows that survive a crash: a write is durable when it returns, readers see all of it or nothing."""

    async def notebooks(self) -> Sequence[Notebook]: ...

    async def save(self, notebook: Notebook) -> None: ...

    async def forget(self, notebook: str) -> None: ...

    async def save_run(self, run: Run) -> None: ...

    async def runs(self, notebook: str) -> Sequence[Run]: ...
