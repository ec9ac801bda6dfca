"""Owns the leases: the one place that grants and ends them, so that no two requests see the same free card.

Everything that reads leases in order to write them holds `_lock` from the one to the other. Those in line are served by whoever changed
something (a release, a lifted quarantine, a waiter that went away); the first in line also looks again from time to time, because a card can
come back without anybody here having done it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..errors import HostUnfit, NbdError, NoCapacity, Unreachable
from .allocate import ClockText, group
from .box import Box
from .model import Card, Grant, Lease, Refusal, Request, Sharing
from .ports import CardProcess, Cards, CardSpecs, DriverFacts, LeaseStore, Reading
from .queue import Turn, Waiter, leases_of, take_turns

log = logging.getLogger(__name__)

OnPosition = Callable[[int, str], None]
"""Told the place in line (1 is next) and why not yet, whenever either changes. Must not raise or block."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All that there is to show about the GPUs of the box. Where the driver does not answer, the first three are empty and it has a reason."""

    cards: tuple[Card, ...]
    readings: tuple[Reading, ...]
    processes: tuple[CardProcess, ...]
    leases: tuple[Lease, ...]
    quarantines: Mapping[str, str]
    """Those that nbd or an admin set. The cards have them too, beside what the driver itself says against a card."""
    waiters: tuple[Waiter, ...]
    """First in line first."""
    driver: DriverFacts


class Ticket:
    """One notebook in line: the waiter, whom to tell, and the grant once there is one."""

    def __init__(self, waiter: Waiter, on_position: OnPosition) -> None:
        self.waiter = waiter
        self.served: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self.joined = False
        """It was put in line, so its notebook held no lease; until then a lease is not this ticket's to end."""
        self._on_position = on_position
        self._told: tuple[int, str] | None = None

    def tell(self, position: int, reason: str) -> None:
        if self._told != (position, reason):
            self._told = (position, reason)
            self._on_position(position, reason)


class Pool:
    def __init__(self, cards: Cards, store: LeaseStore, specs: CardSpecs, wall_clock: Callable[[], float], recheck_seconds: float = 5.0) -> None:
        self._cards = cards
        self._store = store
        self._box = Box(cards, store)
        self._specs = specs
        self._wall_clock = wall_clock
        self._recheck_seconds = recheck_seconds
        self.line: list[Ticket] = []
        """First in line first; only read by others."""
        self._lock = asyncio.Lock()
        """Held from reading the leases to writing them. Whoever adds an `await` elsewhere re-reads after it."""

    async def lease(self, notebook: str, holder: str, request: Request) -> Grant | Refusal:
        """Grant cards and record the lease before anyone else can ask. A notebook that already holds cards gets the same answer again.

        Raises HostUnfit when a container could not be given the cards, Unreachable when the driver does not answer; nothing is leased then.
        """
        async with self._lock:
            held = await self._box.held(notebook)
            if held:
                return held
            newcomer = Waiter(notebook, holder, request, self._wall_clock())
            answer = await self._box.explained(answer_to(newcomer, await self._turn(newcomer)))
            if isinstance(answer, Grant):
                await self._record(newcomer, answer)
            return answer

    async def preview(self, request: Request) -> Grant | Refusal:
        """What `lease` would say to a newcomer now, with nothing recorded. Raises as `lease` does."""
        newcomer = Waiter("", "", request, self._wall_clock())
        answer = await self._box.explained(answer_to(newcomer, await self._turn(newcomer)))
        if isinstance(answer, Grant):
            await self._check_specs(answer)
        return answer

    async def wait(self, notebook: str, holder: str, request: Request, on_position: OnPosition) -> Grant:
        """Stand in line until cards are granted and the lease is recorded. Cancelling leaves the line and ends what was leased meanwhile,
        so a notebook waits or leases once at a time.

        Raises NoCapacity at once when the box can never serve the request, and whatever `lease` raises.
        """
        ticket = Ticket(Waiter(notebook, holder, request, self._wall_clock()), on_position)
        try:
            held = await self._join(ticket)
            return held or await self._stand_in_line(ticket)
        except BaseException:
            await self._leave(ticket)
            raise

    async def release(self, notebook: str, pids: Collection[int]) -> tuple[str, ...]:
        """End the lease once none of the notebook's `pids` holds a card.

        Returns the cards that are still held: the lease on those stays, and the caller decides between waiting and quarantine.
        A driver that does not answer raises, and the lease stays too: a card is given to the next person only when it is *seen* free.
        """
        async with self._lock:
            mine = [lease for lease in await self._store.leases() if lease.notebook == notebook]
            if not mine:
                return ()
            busy = {process.card for process in await self._cards.processes() if process.pid is None or process.pid in pids}
            held = [lease for lease in mine if lease.card in busy]
            await self._store.replace(notebook, held)
            if len(held) < len(mine):
                freed = ", ".join(lease.card for lease in mine if lease not in held)
                log.info("%s let go of %s", mine[0].holder, freed, extra={"NBD_NOTEBOOK": notebook, "NBD_EVENT": "lease_ended"})
                await self._serve()
        return tuple(lease.card for lease in held)

    async def quarantine(self, card: str, reason: str) -> None:
        """Hand `card` to nobody until `lift`, over restarts too. A lease on it stays as it is."""
        await self._store.quarantine(card, reason)
        log.warning("%s is out of service: %s", card, reason, extra={"NBD_EVENT": "card_quarantined"})

    async def lift(self, card: str) -> None:
        await self._store.lift(card)
        log.info("%s is in service again", card, extra={"NBD_EVENT": "card_lifted"})
        await self._look_again()

    async def rebuild(self, seen: Iterable[Lease]) -> None:
        """Record leases that running containers prove and the state lacks. Where two hold one card and one of them exclusively, both leases
        stay (both containers do run) and the card is quarantined: nobody gets it after them until an admin has looked."""
        async with self._lock:
            recorded = list(await self._store.leases())
            known = {(lease.notebook, lease.card) for lease in recorded}
            missing = [lease for lease in seen if (lease.notebook, lease.card) not in known]
            everything = [*recorded, *missing]
            for notebook in {lease.notebook for lease in missing}:
                await self._store.replace(notebook, [lease for lease in everything if lease.notebook == notebook])
                log.warning("a lease was rebuilt from its container", extra={"NBD_NOTEBOOK": notebook, "NBD_EVENT": "lease_rebuilt"})
            for card, leases in group(everything).items():
                if len(leases) > 1 and any(lease.sharing is Sharing.EXCLUSIVE for lease in leases):
                    await self.quarantine(card, f"claimed by {' and '.join(sorted(lease.holder for lease in leases))} at once")

    async def absence(self) -> str:
        """Why this box has no card to lease; empty where it has some."""
        return (await self._cards.driver()).reason

    async def survey(self) -> Survey:
        leases, quarantines = tuple(await self._store.leases()), await self._store.quarantines()
        waiters = tuple(ticket.waiter for ticket in self.line)
        driver = await self._cards.driver()
        try:
            cards, processes, readings = await self._box.cards(), tuple(await self._cards.processes()), tuple(await self._cards.readings())
        except Unreachable as error:
            return Survey((), (), (), leases, quarantines, waiters, replace(driver, reason=driver.reason or error.message))
        return Survey(cards, readings, processes, leases, quarantines, waiters, driver)

    async def _turn(self, *newcomers: Waiter) -> Turn:
        """Everybody in line, and `newcomers` after them, against the cards and leases of this moment."""
        cards, leases = await self._box.cards(), await self._store.leases()
        return take_turns(cards, leases, [*(ticket.waiter for ticket in self.line), *newcomers], clock_text(self._wall_clock()))

    async def _record(self, waiter: Waiter, grant: Grant) -> None:
        await self._check_specs(grant)
        await self._store.replace(waiter.notebook, leases_of(waiter, grant, self._wall_clock()))
        fields = {"NBD_NOTEBOOK": waiter.notebook, "NBD_EVENT": "lease_began"}
        log.info("%s has %s: %s", waiter.holder, ", ".join(grant.cards), grant.reason, extra=fields)

    async def _check_specs(self, grant: Grant) -> None:
        problem = await self._specs.problem(grant.cards, (await self._cards.driver()).version)
        if problem:
            raise HostUnfit(problem.message, hint=problem.hint, code=problem.code)

    async def _join(self, ticket: Ticket) -> Grant | None:
        """Put `ticket` in line and serve it at once if that can be. Returns what the notebook holds already."""
        waiter = ticket.waiter
        async with self._lock:
            held = await self._box.held(waiter.notebook)
            if held:
                return held
            turn = await self._turn(waiter)
            answer = await self._box.explained(answer_to(waiter, turn))
            if isinstance(answer, Refusal) and not answer.worth_waiting:
                raise NoCapacity(answer.summary, hint="see: nbctl gpus")
            ticket.joined = True
            self.line.append(ticket)
            await self._carry_out(turn)
            return None

    async def _stand_in_line(self, ticket: Ticket) -> Grant:
        while not ticket.served.done():
            await asyncio.wait({ticket.served}, timeout=self._recheck_seconds)
            if self.line and self.line[0] is ticket:
                await self._look_again()
        return ticket.served.result()

    async def _leave(self, ticket: Ticket) -> None:
        """Without cards: who was cancelled just when he was served gives them back. The others move up."""
        async with self._lock:
            # Under the lock: whoever serves the line works through it as it was when he began.
            if ticket in self.line:
                self.line.remove(ticket)
            if ticket.joined:
                await self._store.replace(ticket.waiter.notebook, [])
            await self._serve()

    async def _look_again(self) -> None:
        async with self._lock:
            await self._serve()

    async def _serve(self) -> None:
        """Serve the line; the lock is held. A driver that does not answer costs nobody his place."""
        if not self.line:
            return
        try:
            turn = await self._turn()
        except Unreachable as error:
            for position, ticket in enumerate(self.line, start=1):
                ticket.tell(position, error.message)
            return
        await self._carry_out(turn)

    async def _carry_out(self, turn: Turn) -> None:
        tickets = {id(ticket.waiter): ticket for ticket in self.line}
        for waiter, grant in turn.granted:
            await self._settle(tickets[id(waiter)], grant)
        for place in turn.waiting:
            ticket = tickets[id(place.waiter)]
            # A box that shows no card at all is a driver being restarted more often than a box without GPUs: that costs nobody his place.
            if place.refusal.worth_waiting or not place.refusal.obstacles:
                ticket.tell(place.position, place.refusal.summary)
            else:
                self.line.remove(ticket)
                ticket.served.set_exception(NoCapacity(place.refusal.summary, hint="see: nbctl gpus"))

    async def _settle(self, ticket: Ticket, grant: Grant) -> None:
        """Record the grant. What stands in the way of that is this waiter's trouble, not that of whoever looked."""
        try:
            # The same notebook may have been leased to in the meantime, by `lease` or by its other ticket.
            held = await self._box.held(ticket.waiter.notebook)
            if not held:
                await self._record(ticket.waiter, grant)
        except NbdError as error:
            self.line.remove(ticket)
            ticket.served.set_exception(error)
        else:
            self.line.remove(ticket)
            ticket.served.set_result(held or grant)


def answer_to(waiter: Waiter, turn: Turn) -> Grant | Refusal:
    grants = (grant for served, grant in turn.granted if served is waiter)
    refusals = (place.refusal for place in turn.waiting if place.waiter is waiter)
    return next(grants, None) or next(refusals)


def clock_text(now: float) -> ClockText:
    """Local time as people say it today: "14:02", with the day when that is not today's."""
    today = datetime.fromtimestamp(now, UTC).astimezone().date()

    def text(moment: float) -> str:
        local = datetime.fromtimestamp(moment, UTC).astimezone()
        return f"{local:%H:%M}" if local.date() == today else f"{local:%d %b %H:%M}"

    return text
