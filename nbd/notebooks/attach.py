"""Which buckets a notebook sees, where, and which folders on this box those are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ..errors import HostUnfit, InvalidInput, NbdError, Refused, Unreachable
from ..homes.attached.model import Attachment, id_of
from ..homes.attached.url import parsed, unfit_path
from ..messages import AttachRequest
from ..profiles import Attach, Profile
from .model import Occupant

MOST = 8
"""So many of a person's own at one notebook."""
AWAY = "data_away"
UNFIT = "data_unfit"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where attached folders lie, and who owns those that all share."""

    folder: str
    keeper: Occupant
    people: bool = True
    """Whether people may attach what they want."""


@dataclass(frozen=True, slots=True)
class Wanted:
    attachment: Attachment
    path: str
    optional: bool


def wanted(profile: Profile, asked: Sequence[AttachRequest], who: Occupant, ground: Ground) -> tuple[Wanted, ...]:
    """Raises InvalidInput(bad_attachment), Refused(no_attaching): a profile may have changed since a person asked."""
    checked(profile, asked, who, ground)
    offers = [Wanted(offered(one, who, ground), one.path, one.optional) for one in profile.attach]
    return (*offers, *(Wanted(own(one, who, ground), one.path, optional=False) for one in asked))


def checked(profile: Profile, asked: Sequence[AttachRequest], who: Occupant, ground: Ground) -> None:
    """Raises as `wanted`."""
    if asked and not ground.people:
        raise Refused("the admin of this box does not allow that people attach buckets", hint="attached.people in the settings", code="no_attaching")
    if len(asked) > MOST:
        raise InvalidInput(f"no more than {MOST} buckets can be attached", code="bad_attachment")
    for one in asked:
        parsed(one.url)
    used = [mount.target for mount in profile.mounts]
    for path in (*(one.path for one in profile.attach), *(one.path for one in asked)):
        if why := unfit_path(path, who.home, tuple(used)):
            raise InvalidInput(f"nothing can be attached at {path[:100]}: {why}", code="bad_attachment")
        used.append(path)


def offered(offer: Attach, who: Occupant, ground: Ground) -> Attachment:
    shared = not offer.writable and "{user}" not in offer.url
    owner = ground.keeper if shared else who
    url, secrets = parsed(offer.url.replace("{user}", one_name(who.name))).url, offer.secrets or ""
    person = "" if shared else who.name
    found = id_of(person, owner.uid, url, secrets, writable=offer.writable)
    return Attachment(found, person, owner.uid, owner.gid, folder_of(ground, person, found), url, offer.writable, own=False, secrets=secrets)


def own(asked: AttachRequest, who: Occupant, ground: Ground) -> Attachment:
    url = parsed(asked.url).url
    # Never the folder of a profile's with the same URL: that was filled by the admin's rights.
    found = id_of(who.name, who.uid, url, "their own", writable=asked.writable)
    return Attachment(found, who.name, who.uid, who.gid, folder_of(ground, who.name, found), url, asked.writable, own=True)


def folder_of(ground: Ground, person: str, found: str) -> str:
    return f"{ground.folder}/people/{one_name(person)}/{found}" if person else f"{ground.folder}/shared/{found}"


def one_name(person: str) -> str:
    """An account's name as one part of a path and of a key: never empty, "." or "..", nor anything that leads elsewhere."""
    part = quote(person, safe="@-_.")
    return f"%2E{part[1:]}" if part.startswith(".") else part


def failed(error: NbdError, what: Wanted) -> NbdError:
    """In the words of a start. What waiting may mend is told apart from what a person has to."""
    said = f"{what.attachment.url} for {what.path}: {error.message}"
    if error.retryable:
        return Unreachable(said, hint=error.hint or "start again in a moment", code=AWAY)
    return HostUnfit(said, hint=error.hint, code=error.code if error.code == "disk_full" else UNFIT)
