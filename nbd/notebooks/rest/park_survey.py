"""What there is to know before a park and before the way back: who is on the cards with how much, and what stands in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...errors import Conflict, NoCapacity
from ...gpus.model import Lease, Request
from ..model import Notebook, Parked
from ..ports import Gpus, Leases
from ..starter import Clocks
from .park_memory import Memories
from .park_plan import Facts, Load, load_of, moves_of, newcomers, no_room, obstacle, way_back
from .ports import CardsInUse, CudaState, HostMemory, Parker, Pids
from .settling import Settler


@dataclass(frozen=True, slots=True)
class ParkParts:
    """The ports that parking needs; built once in core.py."""

    parker: Parker
    cards: CardsInUse
    pids: Pids
    memory: HostMemory
    gpus: Gpus
    leases: Leases
    clocks: Clocks


class Surveyor:
    """Only looks: nothing is locked, moved or leased for it."""

    def __init__(self, parts: ParkParts, settler: Settler, memories: Memories) -> None:
        self._parts, self._settler, self._memories = parts, settler, memories

    async def leased(self, notebook: str) -> list[Lease]:
        return [lease for lease in await self._parts.leases.leases() if lease.notebook == notebook]

    async def before_park(self, row: Notebook) -> tuple[str, Load]:
        """Why it cannot be parked (empty: it can be tried), and what it has on its cards."""
        leases = await self.leased(row.id)
        box = await self._parts.parker.obstacle()
        if box or not leases or row.container is None:
            return obstacle(Facts(box, leases, (), (), {}, Load(), None)), Load()
        cards, processes = await self._parts.cards.cards(), await self._parts.cards.processes()
        mine = self._settler.processes(row.container)
        load = load_of([lease.card for lease in leases], mine, processes, await self._parts.cards.readings())
        states = await self._settler.states(row.container)
        refused = self._memories.of(row.id).refused
        said = refused[1] if refused and refused[0] <= frozenset(mine.values()) else ""
        room = await self._parts.memory.headroom(next(iter(mine.values()))) if load.total and mine else None
        promised = self._memories.promised_to_others(row.id)
        return obstacle(Facts(box, leases, cards, processes, states, load, room, promised, said)), load

    async def left(self, container: str, cards: Collection[str]) -> str:
        """Who of the container is still on the cards; empty: nobody. Raises Conflict for one that began to use them meanwhile."""
        states = await self._settler.states(container)
        still = newcomers(states, await self._parts.cards.processes(), self._parts.pids.of_container(container), cards)
        if still and any(state is not CudaState.CHECKPOINTED for state in states.values()):
            raise Conflict(f"its GPU is not free: {still}", hint="it is asked again later", code="still_there", retryable=True)
        return still

    async def way_back(self, row: Notebook, plan: Parked) -> Request:
        """The cards that it can be restored on: its own, and those that all its processes reach."""
        cards = await self._parts.cards.cards()
        reachable = frozenset[str]() if self._memories.of(row.id).stays else frozenset(card.uuid for card in cards)
        states = await self._settler.states(str(row.container))
        for pid, process in self._settler.processes(str(row.container)).items():
            if pid in states and reachable - plan.memory.keys():
                reachable &= await self._parts.parker.reaches(process, sorted(reachable))
        return way_back(plan.memory, reachable, cards)

    async def moves(self, plan: Parked, granted: Sequence[str]) -> Mapping[str, str]:
        """Raises NoCapacity where a card has no room for what comes back."""
        moves = moves_of(tuple(plan.memory), granted)
        if short := no_room(plan.memory, moves, await self._parts.cards.cards(), await self._parts.cards.readings()):
            raise NoCapacity(f"its GPU has no room for it: {short}", hint="see who uses it: nbctl gpus", code="gpu_memory", retryable=True)
        return moves
