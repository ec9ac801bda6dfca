"""What this box knows of each person's home beyond its snapshots: whether it is half, whether somebody said that it is as it should be, what its
person has to be told. On the box, by way of notes.
"""

from __future__ import annotations

import asyncio
import logging

from ..errors import NbdError
from ..homemessages import HomeBrief
from .debts import Debts
from .fitness import fit
from .keeping.guardian import Means
from .model import HomeRequest, Owed, Root
from .ports import HomeFolders, Notes
from .snapshots.naming import hold
from .snapshots.retention import PASSING
from .standing import stranger

log = logging.getLogger(__name__)
WAIT_SECONDS = 15.0
HALF = "not protected: the home was brought here in part only"
COMING = ("it is being brought here from its snapshots", "how far that is: nbctl ls")
HALF_HINT = "the next start brings the rest: nbctl start; or say that it is whole: nbctl start --empty-home"
DAMAGED = "what is kept of this home is damaged: {0}. See: nbctl home verify"
PARTED = (
    "another box has worked in this home, and so has somebody here; both are kept. The other's: nbctl home diff {0} latest, "
    "nbctl home restore . --snapshot {0} (into a new folder). If it is as you want it: nbctl home confirm"
)


class Ledger:
    def __init__(self, means: Means, notes: Notes, folders: HomeFolders) -> None:
        self._means, self._notes, self._folders = means, notes, folders
        self.under_way: set[str] = set()
        """Whose home is being brought at this moment."""

    async def accept(self, home: HomeRequest) -> None:
        """A person says that the home is as it should be, whatever its snapshots have, and also if it is half. Raises HostUnfit(home_unfit)."""
        facts = await self._folders.look(home.path)
        fit(home, facts)
        await self._notes.change(home.person, bringing="", base="", accepted=facts.inode, mounted=facts.mounted)

    async def accepted(self, home: HomeRequest) -> bool:
        """Whether the next look records what is there, however much is gone. Of that very folder: another one was not meant."""
        note = await self._notes.read(home.person)
        return note.accepted != 0 and note.accepted == (await self._folders.look(home.path)).inode

    async def recorded(self, person: str) -> None:
        """It has been: from now on the last snapshot is what a home is measured by. What was told is known."""
        await self._notes.change(person, accepted=0, parted="")

    async def hold_newest(self, person: str, *, but: int = 0) -> bool:
        """Keep for ever what the home was before somebody said that it need not be so any more. `but`: so many newer ones are not meant.
        False: that could not be done now."""
        try:
            repository, note = await self._means.vault.find(person), await self._notes.read(person)
            known = sorted(repository.root.snapshots, key=lambda one: one.time, reverse=True)[but : but + 1] if repository else []
            for newest in known:
                if repository and newest.id != note.brought:
                    await hold(repository, newest.id, "before it was left aside")
                    await self._means.vault.note(person, repository)
        except NbdError as error:
            log.warning("what the home of %s was is not marked yet: %s", person, error)
            return False
        return True

    async def alarms(self, person: str) -> tuple[str, ...]:
        note = await self._notes.read(person)
        parted = (PARTED.format(note.parted[:12]),) if note.parted else ()
        return (*parted, DAMAGED.format(note.damages[0])) if note.damages else parted

    async def people(self) -> list[str]:
        return await self._notes.people()

    def debts(self, home: HomeRequest) -> Debts:
        return Debts(self._notes, home)

    async def owed(self, person: str) -> Owed | None:
        """What a sync that ended left undone; None too where that cannot be read."""
        try:
            return (await self._notes.read(person)).owed
        except NbdError as error:
            log.warning("what the home of %s is owed cannot be read: %s", person, error)
            return None

    async def met(self, person: str, root: Root) -> None:
        """Where another box has saved beside this one, the person is told; what it had is kept by the caretaker."""
        note = await self._notes.read(person)
        other = stranger(root, self._means.vault.box, (note.brought, note.told))
        if other is not None and not note.bringing:
            log.warning("another box, %s, works in the home of %s at the same time: both are kept", other.box, person)
            await self._notes.change(person, told=other.id, parted=other.id)

    async def brief(self, person: str) -> HomeBrief:
        """What the note says."""
        note = await self._notes.read(person)
        return HomeBrief(
            person, half=bool(note.bringing), brought=note.brought, alarms=await self.alarms(person), pruned=note.pruned / 1e9 or None,
            dropped=note.dropped, verified=max(note.sampled, note.proven) / 1e9 or None, damages=note.damages,
        )  # fmt: skip

    async def half(self, person: str) -> bool:
        """Whether it is being brought, or was and came to no end."""
        return bool((await self._notes.read(person)).bringing)

    async def keep_both(self, person: str) -> None:
        """Another box's snapshot that is not in this home gets a name, by which it is kept for ever. What fails is tried again by the caretaker."""
        note = await self._notes.read(person)
        if note.parted in ("", note.held):
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                repository = await self._means.vault.find(person)
                other = next((one for one in repository.root.snapshots if one.id == note.parted), None) if repository else None
                if repository and other and other.name in PASSING:
                    # The name moves: of each other box the last is kept for ever, and the retention decides of those before.
                    await hold(repository, other.id, f"of {other.box}", alone=True)
                    await self._means.vault.note(person, repository)
                await self._notes.change(person, held=note.parted)
        except (NbdError, TimeoutError) as error:
            log.warning("the other box's snapshot of the home of %s is not marked yet: %s", person, error)
