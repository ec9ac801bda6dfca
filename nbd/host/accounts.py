"""The box's accounts through NSS (files, LDAP, SSSD …), which may be slow or hang: asked in a thread, with a deadline, and remembered a while."""

from __future__ import annotations

import grp
import os
import pwd
import time

from ..notebooks.model import Occupant
from ..people.model import Person
from .blocking import Blocking

SECONDS = 5.0
REMEMBER_SECONDS = 30.0
"""A disabled account loses its rights this much later at most."""
ADMIN_GROUP = "nbd-admin"


class SystemAccounts:
    def __init__(self) -> None:
        self._door = Blocking(8)
        self._known: dict[int | str, tuple[float, Person | None]] = {}

    async def by_uid(self, uid: int) -> Person | None:
        return await self._remembered(uid)

    async def by_name(self, name: str) -> Person | None:
        return await self._remembered(name)

    async def occupant(self, name: str) -> Occupant | None:
        person = await self.by_name(name)
        return Occupant(person.name, person.uid, person.gid, person.home) if person else None

    async def _remembered(self, key: int | str) -> Person | None:
        now = time.monotonic()
        if key in self._known and self._known[key][0] > now:
            return self._known[key][1]
        person = await self._door.run("the account database", SECONDS, lambda: look_up(key))
        self._known[key] = (now + REMEMBER_SECONDS, person)
        return person


def look_up(key: int | str) -> Person | None:
    try:
        entry = pwd.getpwuid(key) if isinstance(key, int) else pwd.getpwnam(key)
    except KeyError:
        return None
    groups: list[str] = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # A number without a name grants nothing.
    admin = entry.pw_uid == 0 or ADMIN_GROUP in groups
    return Person(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, admin, tuple(groups))


def account_ids(name: str) -> tuple[int, int]:
    """uid and primary gid; this process's own where there is no such account, as in `nbd dev`."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return os.geteuid(), os.getegid()
    return entry.pw_uid, entry.pw_gid


def group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
