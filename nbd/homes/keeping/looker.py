"""Looks at one home: opens it, reads the person's rules, takes the snapshot. Keeps what makes the next look quick."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...errors import NbdError
from ..model import HomeRequest, Kind, Root
from ..ports import Homes, Ignores, OpenHome
from ..snapshots.repository import Moving, Repository
from ..snapshots.snapshotter import Report, Request, Snapshotter
from ..vault import Vault
from .ownrules import OwnRules, own_rules

MOST_MEASURED = 64
"""Folders. More are not counted: whoever asks wants an answer now."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """What changed and is not in the store yet."""

    folders: int
    """0: it is not known where."""
    since: float | None
    """Seconds since 1970; None where it is not known."""
    files: int | None = None
    """Those that are there; None where they cannot be counted now."""
    bytes: int = 0


class Looker:
    def __init__(self, home: HomeRequest, vault: Vault, homes: Homes, make_rules: Callable[[str], Ignores]) -> None:
        self._home, self._vault, self._homes, self._make_rules = home, vault, homes, make_rules
        self._repository: Repository | None = None
        self._own: OwnRules | None = None
        self._rules = make_rules("")

    @property
    def rules_trouble(self) -> str:
        """What of the person's own rules is left out, and why."""
        return (self._own.trouble if self._own else "") or self._rules.trouble

    @property
    def digest(self) -> str:
        """Changes with the rules."""
        return self._rules.digest

    def hidden(self, folder: bytes) -> bool:
        """Whether nothing in this folder belongs in a snapshot."""
        rules, end = self._rules, folder.find(b"/")
        while end >= 0:
            if rules.ignored(folder[:end], folder=True):
                return True
            end = folder.find(b"/", end + 1)
        return bool(folder) and rules.ignored(folder, folder=True)

    async def look(self, request: Request, wall: Callable[[], int]) -> Report:
        """Durable in the store when it returns. Raises what the home, the store and the guards raise."""
        home = await self._homes.open(self._home.path, self._home.uid)
        try:
            await self._read_rules(home)
            return await self._taken(lambda repository: Snapshotter(repository, self._rules, wall).take(home, request))
        finally:
            await home.close()

    async def _taken(self, take: Callable[[Repository], Awaitable[Report]]) -> Report:
        """Into the store or, while it is away, into the spool on this box."""
        vault, person = self._vault, self._home.person
        async with vault.taking(person):
            try:
                report = await take(await self.repository())
            except NbdError as error:
                self._repository = await vault.aside(person, error)
                report = await take(self._repository)
            await vault.note(person, await self.repository())
        return report

    async def read_rules(self) -> None:
        home = await self._homes.open(self._home.path, self._home.uid)
        try:
            await self._read_rules(home)
        finally:
            await home.close()

    async def repository(self) -> Repository:
        if self._repository is None or not self._vault.current(self._home.person, self._repository):
            self._repository = await self._vault.open(self._home.person)
        return self._repository

    @property
    def root(self) -> Root | None:
        """What the pointer named when this box last met it; None while that is not at hand."""
        return self._repository.root if self._repository else None

    @property
    def moving(self) -> Moving:
        """Nothing found, where no look is under way."""
        return self._repository.moving if self._repository else Moving()

    def forget(self) -> None:
        """What is known of the store: it failed, or is not needed any more."""
        self._repository = None

    async def measure(self, folders: frozenset[bytes], since: float) -> tuple[int, int] | None:
        """How many files in these folders changed since then, and how large they are."""
        if len(folders) > MOST_MEASURED:
            return None
        home = await self._homes.open(self._home.path, self._home.uid)
        try:
            listings = await home.look([(folder, True) for folder in folders])
        finally:
            await home.close()
        changed = [one for listing in listings for one in listing.entries if one.kind != Kind.FOLDER and one.ctime >= since * 1e9]
        return len(changed), sum(one.size for one in changed)

    async def _read_rules(self, home: OpenHome) -> None:
        """The person's own beside the house's; a wrong line is said, and left out."""
        own = await own_rules(home)
        if own != self._own:
            self._own, self._rules = own, self._make_rules(own.text)
