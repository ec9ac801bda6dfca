"""What travels between core, the web door and nbctl: one frozen dataclass a message, in the form `wire` speaks.

Field names here are the field names of the API and of `nbctl --json`; changing one is changing the product. Moments are seconds since the
epoch, sizes are bytes, durations are seconds. `NotebookView` is what one person may see of one notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """A bucket, and where a notebook sees it."""

    url: str
    """s3://bucket/prefix, az://container/prefix, gs://bucket/prefix."""
    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class StartRequest:
    name: str = "main"
    profile: str | None = None
    editor: str | None = None
    gpus: int | None = None
    wait: bool = False
    """Queue when nothing fits now, instead of being refused; and wait for a store from which the home has to come."""
    empty_home: bool = False
    """Start on the home as it is, also if it is empty or half and its snapshots could not be brought back."""
    attach: tuple[AttachRequest, ...] | None = None
    """Buckets beside those of the profile. None: those that it had before."""


@dataclass(frozen=True, slots=True)
class Waiting:
    position: int
    """1 is next."""
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long step is: a start, a pull, a build."""

    phase: str
    text: str
    fraction: float | None = None
    """0 to 1; None where the end cannot be known."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    cards: tuple[str, ...]
    sharing: str
    memory_bytes: int
    since: float


@dataclass(frozen=True, slots=True)
class FailureView:
    code: str
    message: str
    hint: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunView:
    number: int
    started: float
    ended: float | None
    stop_reason: str | None
    phases: Mapping[str, float] = field(default_factory=dict)
    container: str | None = None


@dataclass(frozen=True, slots=True)
class NotebookView:
    id: str
    name: str
    owner: str
    state: str
    profile: str
    editor: str
    url: str
    sentence: str
    """What it does now, or why not, in one sentence."""
    hint: str
    """The next step when there is one, else empty."""
    created: float
    gpus: tuple[str, ...] = ()
    """Names of the leased cards, one each ("NVIDIA RTX A4000")."""
    lease: LeaseView | None = None
    started: float | None = None
    ended: float | None = None
    container: str | None = None
    run: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)
    progress: Progress | None = None
    waiting: Waiting | None = None
    verdict: str | None = None
    """The idle engine's word; None while there is none."""
    stop_reason: str | None = None
    failure: FailureView | None = None
    attach: tuple[AttachRequest, ...] = ()
    """What its owner attached, beside what the profile does."""


@dataclass(frozen=True, slots=True)
class CardProcessView:
    pid: int
    memory_bytes: int | None
    notebook: str | None
    """ "owner/name" where the asking person may know it."""


@dataclass(frozen=True, slots=True)
class CardView:
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int | None = None
    utilisation: float | None = None
    """0 to 1; None where the driver cannot say."""
    temperature_celsius: int | None = None
    power_watts: float | None = None
    mig_profile: str | None = None
    parent: str | None = None
    quarantine: str | None = None
    holders: tuple[str, ...] = ()
    processes: tuple[CardProcessView, ...] = ()


NO_DRIVER = "no NVIDIA driver"
"""What `GpusView.reason` begins with on a box that is not made for GPUs, where nothing is broken."""


@dataclass(frozen=True, slots=True)
class GpusView:
    cards: tuple[CardView, ...]
    simulated: bool
    """True where the cards are played by nbd's simulated driver. Whoever shows GPUs shows this."""
    reason: str
    """Why there are none, or why the driver cannot be asked; empty when all is well."""
    driver: str | None = None
    queue: tuple[str, ...] = ()
    """Who waits, first in line first: "bob/train"."""


@dataclass(frozen=True, slots=True)
class ProfileView:
    name: str
    title: str
    description: str
    editor: str
    image: str
    cpus: float
    memory_bytes: int
    gpus: int
    gpu_text: str
    """ "1 GPU with 24 GiB or more", empty for none."""
    available: bool
    """A start now would be granted."""
    reason: str
    """Why not, or what is free: one sentence."""


@dataclass(frozen=True, slots=True)
class ImageView:
    name: str
    """The profile's word for it: "jupyter"."""
    reference: str
    present: bool
    size_bytes: int | None = None
    created: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What an image did when it was tried. It is fit for use when there is no problem."""

    reference: str
    problems: tuple[str, ...] = ()
    """One sentence each."""
    ready_seconds: float | None = None
    """From the start of the container to the editor's first answer; None when it never answered."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tool to what it says of its version; empty text where it is missing."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """What is really in it, for each version that a label states."""
    log: tuple[str, ...] = ()
    """The editor's last lines, when there are problems."""


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    url: str
    expires: float
    """Valid until then, and once."""


@dataclass(frozen=True, slots=True)
class PersonView:
    name: str
    uid: int
    admin: bool
    home: str


@dataclass(frozen=True, slots=True)
class StatusView:
    version: str
    instance: str
    host: str
    started: float
    person: PersonView
    notebooks: Mapping[str, int]
    """How many in each state: the person's own; all for an admin."""
    parts: Mapping[str, str]
    """Each part ("podman", "gpus", "network", "sync", …) and "ok" or what is wrong with it."""
    simulated_gpus: bool
    web: str
    """Where the pages are."""


@dataclass(frozen=True, slots=True)
class Unkept:
    """A path that could not be kept or restored, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoomView:
    """How full a home is, by the limit that binds most."""

    level: str
    """fine; warn: 80 % are used; loud: 90 %, or the disk is nearly full; over: nothing more fits, or no notebook starts any more."""
    kind: str
    """quota: the admin's, against what was measured; project quota: the file system's; disk: there is no other limit."""
    used: int | None
    """Bytes of the home; None while that is not known."""
    limit: int
    free: int
    """On its file system, for this home."""
    sentence: str
    hint: str = ""
    refuses: bool = False
    """No notebook starts in it until there is room."""


@dataclass(frozen=True, slots=True)
class Saving:
    """A look under way: so many bytes of so many are in the store. The total grows while more is found."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class UnsavedView:
    """What changed in the home and is not in the store yet."""

    since: float | None
    """The first of it; None where that is not known."""
    folders: int
    """In so many something changed; 0: it is not known where, and all are looked at."""
    files: int | None = None
    """Changed, and there now; None where there are too many to count at once."""
    bytes: int = 0
    """The size of these files."""


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Snapshots that are on this box alone, because the store is away."""

    bytes: int
    snapshots: int
    since: float | None
    """The time of the oldest."""
    trouble: str
    """Why they do not get into the store, when that was last tried."""


@dataclass(frozen=True, slots=True)
class HomeView:
    """How a person's home is kept."""

    path: str
    watched: bool
    """A notebook runs in it, so it is looked at again and again."""
    protected: float | None
    """Everything saved before this moment is in the store; None while that is not known."""
    store: str
    """Where; without secrets."""
    sentence: str
    hint: str
    trouble: str = ""
    """Why the last look did not end well; empty when it did."""
    since: float | None = None
    """Since when there is trouble."""
    pending: tuple[str, ...] = ()
    """Snapshots that were asked for and are not in the store yet: "stop main"."""
    unkept: tuple[Unkept, ...] = ()
    """The first of what is in the home and cannot be kept."""
    unkept_count: int = 0
    room: RoomView | None = None
    """None where it cannot be known now."""
    withheld: str = ""
    """Why what is gone from the home stays in its snapshots until the person confirms; empty where nothing waits for that."""
    alarms: tuple[str, ...] = ()
    """What else a person has to know of, each a sentence with its next step."""
    saving: Saving | None = None
    """While changes are on their way to the store."""
    unsaved: UnsavedView | None = None
    """None: nothing changed since `protected` that is known of."""
    source: str = ""
    """What tells of changes while a notebook runs: fanotify, inotify; or looks: nothing does, and all of the home is looked at now and then."""
    source_why: str = ""
    """Why nothing better does; empty for the best."""
    proved: float | None = None
    """When the last look at everything began, which finds what was missed."""
    waiting: WaitingView | None = None
    """What is in the spool on this box and not in the store yet; what is in it is newer than `protected`."""


@dataclass(frozen=True, slots=True)
class GoneView:
    path: str
    kind: str
    entries: int
    """1, and for a folder what was below it."""


@dataclass(frozen=True, slots=True)
class LossView:
    """What the newest snapshot has and the home has not: what a confirmation lets go of."""

    entries: int
    gone: tuple[GoneView, ...]
    """The first of them. What is below a folder that is gone is not told again."""
    whole: bool = True
    """False: there may be more."""


@dataclass(frozen=True, slots=True)
class FolderUseView:
    path: str
    bytes: int
    """On the disk, with all that is below."""
    files: int
    excluded: int
    """Bytes of it that are not in snapshots."""


@dataclass(frozen=True, slots=True)
class ExcludedView:
    path: str
    rule: str
    """The line that leaves it out: nbd's own, or of the person's .nbdignore."""
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class RuleView:
    rule: str
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class CulpritView:
    """What usually takes room and need not."""

    title: str
    place: str
    """Empty where there are many places."""
    bytes: int
    advice: str
    command: str
    """Frees it, typed by the person. nbd never does."""


@dataclass(frozen=True, slots=True)
class UsageView:
    """What a home takes, and what of it is kept. All but `room` is of the moment `measured`."""

    path: str
    measured: float | None
    """None: it was not weighed yet."""
    measuring: bool
    bytes: int = 0
    files: int = 0
    excluded_bytes: int = 0
    excluded_files: int = 0
    unseen: int = 0
    """Folders that could not be looked into: another's, or of another file system."""
    whole: bool = True
    """False: there is more than was counted."""
    folders: tuple[FolderUseView, ...] = ()
    """The largest, by path."""
    excluded: tuple[ExcludedView, ...] = ()
    """The largest of what is not in snapshots."""
    rules: tuple[RuleView, ...] = ()
    culprits: tuple[CulpritView, ...] = ()
    snapshots: int | None = None
    """None where the store cannot say now."""
    stored: int | None = None
    """Bytes in the store, all snapshots together."""
    cost: str = ""
    room: RoomView | None = None
    trouble: str = ""
    """Why it could not be weighed."""


@dataclass(frozen=True, slots=True)
class SnapshotView:
    id: str
    time: float
    event: str
    """What it is tied to: save, stop, confirm."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class EntryView:
    name: str
    kind: str
    """file, folder, link, pipe, socket, character, block; or skipped: named, and not kept."""
    mode: int
    size: int
    """Of a folder, how many entries are below it."""
    modified: float
    note: str = ""
    """Where a link leads; why something was not kept."""
    quoted: str = ""
    """The name percent-encoded, where it is not plain UTF-8: so it is asked for. Else empty."""


@dataclass(frozen=True, slots=True)
class DifferenceView:
    change: str
    """added, deleted, changed, renamed"""
    path: str
    source: str = ""
    """Where a renamed one was before."""
    kind: str = ""
    """What it is, or was, as in an entry."""
    before: int | None = None
    """The size it had; None for what was added."""
    after: int | None = None
    quoted: str = ""
    """The path percent-encoded, where it is not plain UTF-8; else empty."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    path: str = ""
    """In the home; empty for all of it."""
    snapshot: str = ""
    """The beginning of an id. Neither this nor `at`: the newest one that has the path."""
    at: float | None = None
    """The newest one that is not younger."""
    to: str = ""
    """The folder to restore into, where what is in the way is replaced; empty: a new one in the home."""


@dataclass(frozen=True, slots=True)
class RestoreView:
    """Where a restore is; the last has `done`."""

    done: bool
    to: str
    snapshot: SnapshotView
    entries: int = 0
    bytes: int = 0
    already: int = 0
    """Were there just so."""
    skipped: tuple[Unkept, ...] = ()
    damaged: tuple[Unkept, ...] = ()
    total: int = 0
    """So many entries there are to be restored; 0 while that is not known."""
    total_bytes: int = 0
    already_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TextView:
    """The text of a file of a snapshot: its beginning, where it is long."""

    path: str
    snapshot: SnapshotView
    size: int
    modified: float
    text: str
    cut: bool = False
    why_not: str = ""
    """Why there is no text: it is none, it is too large."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """One state of a path, and the newest snapshot that has it so."""

    snapshot: SnapshotView
    first: SnapshotView
    """The oldest snapshot that has it so, without another state between."""
    kind: str
    """As in an entry; empty: it was not there."""
    size: int = 0
    modified: float = 0.0


@dataclass(frozen=True, slots=True)
class VerifyView:
    good: bool
    snapshots: int
    objects: int
    bytes: int
    damages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    """Files of kept snapshots that cannot be restored."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of every answer that is not a success."""

    code: str
    message: str
    hint: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class ProblemAnswer:
    error: Problem


class DoorKind(StrEnum):
    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    NOTEBOOK = "notebook"
    NOTEBOOK_GONE = "notebook_gone"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True)
class SignIn:
    """One browser's right, on one origin. Its token never leaves the browser; this is the SHA-256 of it, in hex."""

    token_sha256: str
    person: PersonView
    expires: float
    notebook: str | None = None
    """The id of the notebook whose origin it is for; None for the pages' own origin."""


@dataclass(frozen=True, slots=True)
class DoorEvent:
    """A line of `/v1/door/events`: the whole table first, then SYNCED, then each change as it happens."""

    kind: DoorKind
    key: str = ""
    """The token hash or notebook id that this is about."""
    sign_in: SignIn | None = None
    notebook: NotebookView | None = None
    socket: str | None = None
    """Where the editor listens while the notebook runs: a path. None while it does not."""
    owner_uid: int | None = None
    """As whom it listens; there whenever `socket` is. Whatever else stands at that path is not to be talked to."""


@dataclass(frozen=True, slots=True)
class RedeemRequest:
    ticket: str


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A ticket, spent. `token` goes into the browser's cookie and nowhere else."""

    token: str
    sign_in: SignIn
