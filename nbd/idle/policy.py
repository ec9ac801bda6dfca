"""One policy of what admin, profile and person say, and whose word each setting is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..config import IdleSettings, Source, fill, toml
from ..errors import InvalidInput
from ..values import Span, flag, longest, setting, some_time, spans, text
from ..wire import nearest
from .model import Policy
from .words import setting_text

ADMIN, SHIPPED, YOU = "the admin's default", "nbd's default", "you"
OWN = ("park_after", "freeze_after", "stop_after", "busy_grace", "max_session", "max_running")
"""What a person may set for a notebook of theirs, never longer than what holds without them."""


@dataclass(frozen=True, slots=True)
class IdleOffer:
    """A profile's table [idle]. Unset: as [idle] of nbd.toml says."""

    warn_before: float | None = setting(None, some_time, "How long before it is done a step is announced.")
    park_after: float | None = setting(None, longest, "Idle for so long, it gives its GPU back and keeps its kernel. none: never.")
    freeze_after: float | None = setting(None, longest, "Idle for so long, it goes to disk where this box can do that. none: never.")
    stop_after: float | None = setting(None, longest, "Idle for so long, it is stopped where it cannot be frozen. none: never.")
    busy_grace: float | None = setting(None, some_time, "So long a busy kernel counts although nothing measures work.")
    max_session: float | None = setting(None, longest, "So long after a person was last there, only measured work counts. none: claims always do.")
    max_running: float | None = setting(None, longest, "The end of every run, announced a day and an hour before. none: never.")
    auto_restart: bool | None = setting(None, flag, "Whether it is started again then.")
    quiet_hours: tuple[Span, ...] | None = setting(None, spans, "Nothing is frozen or stopped for idleness then: 22:00-07:00.")
    shadow: bool | None = setting(None, flag, "Say what would be done, and do nothing.")
    probe: str | None = setting(None, text, "A program in the image that says whether the notebook works: /usr/local/bin/probe.")


NO_OFFER = IdleOffer()
TIMES = ("warn_before", "park_after", "freeze_after", "stop_after", "busy_grace", "max_session", "max_running")
FLAGS = ("auto_restart", "shadow")


@dataclass(slots=True)
class _Chosen:
    profile: str
    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def take(self, key: str, own: object, default: object, shipped: object) -> None:
        self.values[key] = default if own is None else own
        self.origins[key] = f"profile {self.profile}" if own is not None else ADMIN if default != shipped else SHIPPED


def effective(admin: IdleSettings, profile: str, offer: IdleOffer | None, person: Mapping[str, str]) -> Policy:
    """What holds for one notebook. `person`: keys of OWN with values as in a profile's file; what is looser than the rest is clipped, and its
    origin says so; what cannot be read is passed over (`checked` refuses it when it is set)."""
    chosen, shipped, own = _Chosen(profile), IdleSettings(), offer or NO_OFFER
    for key in (*TIMES, *FLAGS):
        chosen.take(key, getattr(own, key), getattr(admin, key), getattr(shipped, key))
    chosen.take("quiet_hours", own.quiet_hours, admin.quiet_hours, shipped.quiet_hours)
    for key, written in person.items():
        _tighten(chosen, key, written)
    return _policy(chosen, admin.sample_every)


def _tighten(chosen: _Chosen, key: str, written: str) -> None:
    try:
        wanted = _own_value(key, written)
    except InvalidInput:
        return
    held = chosen.values[key]
    if isinstance(held, float) and wanted < held:
        chosen.values[key], chosen.origins[key] = wanted, YOU
    elif held != wanted:
        chosen.origins[key] += f"; you asked for {written}, which is longer"


def checked(person: Mapping[str, str]) -> Mapping[str, str]:
    """A person's own settings, without those that are empty texts. Raises InvalidInput for what is none."""
    kept = {key: written for key, written in person.items() if written}
    for key in person:
        if key not in OWN:
            hint = nearest(key, dict.fromkeys(OWN))
            raise InvalidInput(f"{key[:60]!r} is not a setting of yours", hint=hint, code="bad_setting")
    for key, written in kept.items():
        _own_value(key, written)
    return kept


def _own_value(key: str, written: str) -> float:
    if key not in OWN:
        raise InvalidInput(f"{key[:60]!r} is not a setting of yours", hint="yours to set: " + ", ".join(OWN), code="bad_setting")
    try:
        return some_time(written) if key == "busy_grace" else longest(written)
    except ValueError as error:
        raise InvalidInput(f"{key}: {error}", hint=f'such as: {key} = "20min"', code="bad_setting") from None


def parsed(source: str, file: str, admin: IdleSettings) -> Policy:
    """The policy of a file with a table [idle] as profiles have it, for a replay. Raises InvalidInput with file, line and key."""
    document = toml(source, file)
    strange = document.keys() - {"idle"}
    table = document.get("idle", {})
    if strange or not isinstance(table, dict):
        hint = 'such as: [idle] and below it park_after = "20min"'
        raise InvalidInput(f"{file}:1: a policy is one table [idle]", hint=hint, code="bad_config")
    policy = effective(admin, file, fill(IdleOffer, table, Source(source, file, "idle")), {})
    return replace(policy, origins={key: file if origin == f"profile {file}" else origin for key, origin in policy.origins.items()})


def _policy(chosen: _Chosen, sample_every: float) -> Policy:
    values = dict(chosen.values)
    values["quiet"] = values.pop("quiet_hours")
    never = {key: None for key in TIMES if values[key] == math.inf}
    origins = {"quiet" if key == "quiet_hours" else key: origin for key, origin in chosen.origins.items()}
    return Policy(**(values | never), origins=origins, sample_every=sample_every)  # type: ignore[arg-type]


def rows(policy: Policy) -> tuple[tuple[str, str, str, bool], ...]:
    """Each setting as it is written in a file, whose word it is, and whether its person may set it tighter."""
    found = []
    for key in (*TIMES, "quiet_hours", *FLAGS):
        value = getattr(policy, "quiet" if key == "quiet_hours" else key)
        found.append((key, _written(value), policy.origins.get("quiet" if key == "quiet_hours" else key, SHIPPED), key in OWN))
    return tuple(found)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _hours(value) if isinstance(value, tuple) else setting_text(value if isinstance(value, float) else None)


def _hours(quiet: tuple[Span, ...]) -> str:
    return ", ".join(f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}" for start, end in quiet)
