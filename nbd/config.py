"""Settings: one row each, from which the parser, the shipped `config/nbd.toml`, `nbctl config` and the reference page come.

A settings class is a frozen dataclass whose fields are made by `setting`; the same machinery reads profiles. A wrong key or value is an
InvalidInput that names file, line, key and, for a key, the nearest known one. Nothing here opens a file but `read`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from .errors import InvalidInput
from .values import (
    Hours,
    Span,
    address,
    count,
    duration,
    flag,
    longest,
    one_of,
    pace,
    price,
    rate,
    rates,
    room,
    setting,
    shares,
    size,
    some,
    some_time,
    spans,
    text,
    texts,
)  # fmt: skip
from .wire import nearest

T = TypeVar("T")

@dataclass(frozen=True, slots=True)
class CoreSettings:
    socket_group: str | None = setting(None, text, "Group whose members may talk to nbd on its socket. Unset: everybody on this machine may.")
    podman_socket: str = setting("/run/podman/podman.sock", text, "Podman's API socket.")
    podman_timeout: float = setting("60s", some_time, "Longest wait for one answer of Podman.")
    default_profile: str = setting("cpu-small", text, "Profile of a notebook whose owner names none.")
    reconcile_every: float = setting("10s", some_time, "How often what is wanted is compared with what runs.")
    stop_grace: float = setting("20s", duration, "Time that an editor has to save its work before it is killed.")
    ready_within: float = setting("90s", some_time, "Longest wait for an editor to answer after its container started.")
    crash_limit: int = setting(3, count, "So many wrong exits within crash_window leave the notebook FAILED; below, it is started again.")
    crash_window: float = setting("10min", duration, "See crash_limit.")
    pull_images: bool = setting(True, flag, "Fetch an image that a profile names by a full reference when it is not on this box.")  # noqa: FBT003
    image_prefix: str = setting("localhost/nbd/", text, "What stands before the name of an image that nbd builds.")


@dataclass(frozen=True, slots=True)
class GpuSettings:
    nvml_timeout: float = setting("2s", some_time, "Longest wait for one answer of the GPU driver.")
    library_folder: str | None = setting(None, text, "Folder of libnvidia-ml.so.1, where the driver is not in the usual place.")
    simulated_box: str | None = setting(None, text, "For demos and tests: the file from which nbd's simulated driver reads its cards.")
    release_within: float = setting("15s", duration, "How long a stopped notebook's processes may linger on a card before it is quarantined.")
    cdi_folders: tuple[str, ...] = setting(("/etc/cdi", "/var/run/cdi"), texts, "Where CDI specifications are looked for.")


@dataclass(frozen=True, slots=True)
class WebSettings:
    listen: str = setting("127.0.0.1:8686", address, "Address and port of the pages.")
    domain: str = setting("localhost", text, "Pages are at this name, each notebook at <id>.<name>: the name and *.<name> must resolve to this box.")
    user: str = setting("nbd-web", text, "Account of the web program: the only one that may reach the editors.")
    sign_in_lifetime: float = setting("12h", some_time, "How long a browser stays signed in.")
    ticket_lifetime: float = setting("60s", duration, "How long a one-time link is good for.")


@dataclass(frozen=True, slots=True)
class HomeSettings:
    protect: bool = setting(True, flag, "Take snapshots of the homes of people whose notebooks run.")  # noqa: FBT003
    store: str | None = setting(None, text, "A folder, s3://bucket/prefix, az://…, gs://… or s3://nbd-{user}. Unset: /var/lib/nbd/sync/store.")
    store_secrets: str | None = setting(None, text, "File (TOML, mode 0600) with a bucket's options. Unset: the credential nbd.store-secrets.")
    store_role: bool = setting(False, flag, "Take the bucket's credentials from the cloud that this box stands in.")  # noqa: FBT003
    store_timeout: float = setting("30s", some_time, "Longest silence of the store; large objects have longer, by 64 KiB a second.")
    connections: int = setting(8, some, "Most requests to the store at a time.")
    bandwidth: int | None = setting("unlimited", rate, "Most bytes a second to the store, and from it: 20MiB.")
    bandwidth_schedule: tuple[Hours, ...] = setting("", rates, "Other rates at other hours: 08:00-18:00 5MiB, 18:00-22:00 unlimited.")
    verify_writes: str = setting("proof", one_of("proof", "read"), "read: each object is read back. proof: the end of those whose e-tag is none.")
    key_file: str | None = setting(None, text, "The master key. Unset: /var/lib/nbd/sync/master.key. Losing it loses every snapshot: keep a copy.")
    user: str = setting("nbd-sync", text, "Account of the sync program. Where there is none, root without root's powers.")
    events: str = setting("auto", one_of("auto", "inotify", "none"), "What tells of changes in homes: the best there is, inotify, or nothing.")
    spool: int = setting("4GiB", size, "Most that waits on this box, of all homes, while a store is away: /var/lib/nbd/sync/spool. 0B: nothing does.")
    copies: int = setting("1GiB", room, "Most for copies on this box of what is read of the stores again and again. They may be deleted.")
    look_every: float = setting("60s", some_time, "How often a home in use is compared with its last snapshot where nothing tells of its changes.")
    prove_every: float = setting("15min", some_time, "The same, where something does; a little at a time. It finds what was missed.")
    keep_recent: float = setting("1h", duration, "Younger snapshots stay. Those with a name (of a stop, say) stay for ever, as does the newest.")
    keep_hourly: int = setting(24, count, "Of so many hours the last snapshot stays.")
    keep_daily: int = setting(14, count, "Of so many days.")
    keep_weekly: int = setting(8, count, "Of so many weeks.")
    keep_monthly: int = setting(6, count, "Of so many months.")
    prune_every: float = setting("1h", duration, "How often what does not stay is dropped, of each home. 0s: only when somebody asks for it.")
    drill_every: float = setting("1d", duration, "How often one in a hundred of what is kept of each home is read and compared. 0s: never.")
    drill_all_every: float = setting("30d", duration, "How often all of it is. That is a download of everything. 0s: never.")
    quota: int | None = setting(None, room, "Most that a home may take on its disk, such as 200GiB. Unset: no limit but the file system's.")
    quotas: tuple[tuple[str, int], ...] = setting((), shares, 'Of some people another: ["ada=500GiB", "eve=none"].')
    over_quota: str = setting("refuse", one_of("refuse", "warn"), "Whether new starts are refused above the quota. It warns at 80 % and 90 %.")
    measure_every: float = setting("1h", some_time, "How often a home in use that has a quota, or is nearly full, is weighed.")
    tariff: str | None = setting(None, price, "What the store costs, such as 0.02 USD/GB-month; nbctl home usage tells each person's share.")


@dataclass(frozen=True, slots=True)
class AttachedSettings:
    people: bool = setting(True, flag, "Whether people may attach buckets of their own: nbctl start --attach.")  # noqa: FBT003
    endpoint: str | None = setting(None, text, "Where their s3:// buckets are: https://minio.example. Unset: Amazon. They cannot name one.")
    folder: str | None = setting(None, text, "Where what is attached lies on this box. Unset: /var/lib/nbd/attached.")
    most: int = setting("100GiB", room, "Largest that may be attached at one place.")
    look_every: float = setting("15s", some_time, "How often a writable one in use is looked at, for what has to go up.")


@dataclass(frozen=True, slots=True)
class IdleSettings:
    warn_before: float = setting("5min", some_time, "How long before it is done a step is announced.")
    park_after: float = setting("30min", longest, "Idle for so long, a notebook gives its GPU back and keeps its kernel. none: never.")
    freeze_after: float = setting("60min", longest, "Idle for so long, it goes to disk where this box can do that. none: never.")
    stop_after: float = setting("60min", longest, "Idle for so long, it is stopped where it cannot be frozen. none: never.")
    busy_grace: float = setting("2h", some_time, "So long a busy kernel counts although nothing measures work; then its person is asked.")
    max_session: float = setting("8h", longest, "So long after a person was last there, only measured work counts. none: claims always do.")
    max_running: float = setting("7d", longest, "The end of every run, announced a day and an hour before. none: never.")
    auto_restart: bool = setting(False, flag, "Whether it is started again then.")  # noqa: FBT003
    preempt_after: float = setting("none", longest, "While somebody waits for a GPU, the longest idle one is parked after so long. none: it is not.")
    quiet_hours: tuple[Span, ...] = setting("", spans, "Nothing is frozen or stopped for idleness then: 22:00-07:00, by this box's clock.")
    shadow: bool = setting(False, flag, "Say what would be done about idle notebooks, and do nothing.")  # noqa: FBT003
    sample_every: float = setting("10s", pace, "How often each notebook is looked at.")


@dataclass(frozen=True, slots=True)
class Config:
    core: CoreSettings
    gpus: GpuSettings
    web: WebSettings
    homes: HomeSettings
    attached: AttachedSettings
    idle: IdleSettings


SECTIONS: Mapping[str, type[Any]] = {
    "core": CoreSettings, "gpus": GpuSettings, "web": WebSettings, "homes": HomeSettings, "attached": AttachedSettings,
    "idle": IdleSettings,
}  # fmt: skip


def defaults() -> Config:
    return Config(CoreSettings(), GpuSettings(), WebSettings(), HomeSettings(), AttachedSettings(), IdleSettings())


def read(path: Path) -> Config:
    """The configuration in `path`; defaults where there is no such file. Raises InvalidInput."""
    if not path.exists():
        return defaults()
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(source: str, file: str) -> Config:
    document = toml(source, file)
    for section, content in document.items():
        if section not in SECTIONS or not isinstance(content, dict):
            what = "must be a section" if section in SECTIONS else "unknown section"
            raise complaint(source, file, ("", section), what, nearest(section, SECTIONS))
    return Config(**{name: fill(kind, document.get(name, {}), Source(source, file, name)) for name, kind in SECTIONS.items()})


@dataclass(frozen=True, slots=True)
class Source:
    """Where a table of settings stands: for the messages."""

    text: str
    file: str
    section: str


def fill(kind: type[T], table: Mapping[str, Any], source: Source) -> T:
    """A settings value from a TOML table. Raises InvalidInput naming file, line and key."""
    rows: dict[str, Field[Any]] = {row.name: row for row in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = (source.section, key)
        if key not in rows:
            raise complaint(source.text, source.file, where, "unknown key", nearest(key, rows))
        try:
            values[key] = rows[key].metadata["parse"](value)
        except ValueError as error:
            raise complaint(source.text, source.file, where, str(error), rows[key].metadata["help"]) from None
    for name, row in rows.items():
        if row.default is MISSING and name not in values:
            raise complaint(source.text, source.file, (source.section, name), "is missing", row.metadata["help"])
    return kind(**values)


def override(config: Config, assignment: str) -> Config:
    """The configuration with one setting changed: `web.listen="127.0.0.1:9000"`, the value as TOML. Raises InvalidInput."""
    path, _, value = assignment.partition("=")
    section, _, key = path.strip().partition(".")
    if section not in SECTIONS:
        raise InvalidInput(f"--set {assignment}: there is no section {section!r}", hint=nearest(section, SECTIONS), code="bad_config")
    text_of_it = f"[{section}]\n{key} = {value}\n"
    changed = fill(SECTIONS[section], toml(text_of_it, "--set").get(section, {}), Source(text_of_it, "--set", section))
    return replace(config, **{section: replace(getattr(config, section), **{key: getattr(changed, key)})})


def toml(source: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = found[1] if found else "1"
        raise InvalidInput(f"{file}:{line}: {re.sub(r' ?[(]at .*', '', str(error))}", code="bad_config") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise InvalidInput(f"{file}:1: cannot be read: {error}", code="bad_config") from None


def complaint(source: str, file: str, where: tuple[str, str], what: str, hint: str) -> InvalidInput:
    section, key = where
    name = f"{section}.{key}" if section else key
    return InvalidInput(f"{file}:{line_of(source, section, key)}: {name}: {what}", hint=hint, code="bad_config")


def line_of(source: str, section: str, key: str) -> int:
    """The line (from 1) where `key` of `section` stands, the section's header where it does not, 1 where neither does.

    tomllib keeps no positions; a key at the start of a line below its section's header is how people write these files.
    """
    current, header = "", 1
    for line, content in enumerate(source.splitlines(), 1):
        if found := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", content):
            current = found[1]
            if current == section or (not section and current == key):
                header = line
        elif current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", content):
            return line
    return header


def reference() -> str:
    """Every setting with its meaning and default: the text of `config/nbd.toml`, valid TOML in which nothing is set."""
    lines = [
        "# nbd's settings. A line without '#' sets a value; what stands here commented is the default.",
        "# After a change: systemctl restart nbd nbd-web nbd-sync",
    ]
    for name, kind in SECTIONS.items():
        lines += ["", f"[{name}]"]
        for row in fields(kind):
            lines += [f"# {row.metadata['help']}", f"#{row.name} = {as_toml(row)}"]
    return "\n".join(lines) + "\n"


def as_toml(row: Field[Any]) -> str:
    shown = row.metadata["shown"]
    if shown is None:
        return '""'
    if isinstance(shown, bool):
        return str(shown).lower()
    if isinstance(shown, tuple):
        return "[" + ", ".join(f'"{item}"' for item in shown) + "]"
    return f'"{shown}"' if isinstance(shown, str) else str(shown)
