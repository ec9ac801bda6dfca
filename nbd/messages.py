"""What travels between core, the web door and nbctl: one frozen dataclass a message, in the form `wire` speaks.

Field names here are the field names of the API and of `nbctl --json`; changing one is changing the product. Moments are seconds since the
epoch, sizes are bytes, durations are seconds. `NotebookView` is what one person may see of one notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# isort: off
from .idlemessages import IdleBrief as IdleBrief, NextView as NextView, NoticeView as NoticeView
from .keptmessages import (
    CulpritView as CulpritView,
    DifferenceView as DifferenceView,
    EntryView as EntryView,
    ExcludedView as ExcludedView,
    FolderUseView as FolderUseView,
    GoneView as GoneView,
    HomeView as HomeView,
    LossView as LossView,
    RestoreRequest as RestoreRequest,
    RestoreView as RestoreView,
    RoomView as RoomView,
    RuleView as RuleView,
    Saving as Saving,
    SnapshotView as SnapshotView,
    TextView as TextView,
    Unkept as Unkept,
    UnsavedView as UnsavedView,
    UsageView as UsageView,
    VerifyView as VerifyView,
    VersionView as VersionView,
    WaitingView as WaitingView,
)

# isort: on


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
    """The idle engine's word: active, idle, unknown; None while there is none."""
    next: NextView | None = None
    """What is done about it next, if nothing changes."""
    notice: NoticeView | None = None
    """What its person is told just now."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Of "park" and "freeze": why it cannot be, as far as that has been looked at."""
    trouble: str = ""
    """Why it did not come up again from its rest, or could not be put to it; empty for nothing."""
    stop_reason: str | None = None
    failure: FailureView | None = None
    unsaved: str = ""
    """What of the home that it left is not in the store yet, for its owner; empty for nothing."""
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
