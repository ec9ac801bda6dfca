"""What parking and unparking decide. Pure: states, cards and memory in, the next call or an obstacle in words out.

How to think about it. Each CUDA process of a notebook is running, locked or checkpointed; a notebook is *parked* when all are checkpointed and
*running* when none is otherwise. `next_turn` says what is due to come from any mixture to one of the two, so a park, its undoing, an unpark and
the repair after a crash are one loop: look, do what is due, look again. Nothing is remembered that the driver does not show.

In both directions all processes take each step together: nothing is copied before all are locked, and none goes on before all are back, because
processes that talk to each other on the cards must not meet one that is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ...gpus.model import GIB, Card, Lease, Request, Sharing
from ...gpus.ports import CardProcess, Reading
from ..ports import Process
from .ports import CudaState, Headroom

MARGIN_SHARE, MARGIN_BYTES = 0.05, GIB // 2
"""Of the box's memory stays free: so much of what is moved, and this."""
CARD_MARGIN_BYTES = GIB // 8
"""A context takes more on its card than what it had allocated."""
FIRST_RETRY, LONGEST_RETRY = 30.0, 1800.0
MOST_RETRIES = 3
"""After so many failed restores in a row only a person tries again: https://github.com/NVIDIA/cuda-checkpoint/issues/44."""


class Aim(StrEnum):
    PARKED = "parked"
    RUNNING = "running"


class Do(StrEnum):
    WAIT = "wait"
    LOCK = "lock"
    CHECKPOINT = "checkpoint"
    RESTORE = "restore"
    UNLOCK = "unlock"


@dataclass(frozen=True, slots=True)
class Turn:
    do: Do
    pids: tuple[int, ...]


STEPS = {
    Aim.PARKED: ((CudaState.RUNNING, Do.LOCK), (CudaState.LOCKED, Do.CHECKPOINT)),
    Aim.RUNNING: ((CudaState.CHECKPOINTED, Do.RESTORE), (CudaState.LOCKED, Do.UNLOCK)),
}


def next_turn(states: Mapping[int, CudaState], aim: Aim) -> Turn | None:
    """What is due now; None when the aim is reached. A process in FAILED is beyond help and stops nobody from running; `lost` names it. Back comes
    who went last."""
    if busy := having(states, CudaState.BUSY):
        return Turn(Do.WAIT, busy)
    for state, do in STEPS[aim]:
        if found := having(states, state):
            return Turn(do, found if aim is Aim.PARKED else found[::-1])
    return None


def having(states: Mapping[int, CudaState], state: CudaState) -> tuple[int, ...]:
    return tuple(sorted(pid for pid, found in states.items() if found is state))


def lost(states: Mapping[int, CudaState]) -> str:
    """Empty where nobody is."""
    pids = having(states, CudaState.FAILED)
    if not pids:
        return ""
    return f"the CUDA driver lost {named(pids)}: what it had on the GPU is gone; its other memory is whole. Save what you need and restart the kernel"


@dataclass(frozen=True, slots=True)
class Load:
    """What a notebook has on its cards."""

    by_card: Mapping[str, int] = field(default_factory=dict)
    by_pid: Mapping[int, int] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.by_card.values())


def load_of(leased: Collection[str], mine: Mapping[int, Process], processes: Sequence[CardProcess], readings: Sequence[Reading]) -> Load:
    """Where the driver does not say how much a process has, all that is used on its card is counted as its own: the cards are its alone."""
    used = {reading.card: reading.used_bytes or 0 for reading in readings}
    by_card, by_pid = dict.fromkeys(leased, 0), dict[int, int]()
    for process in processes:
        if process.card not in by_card or process.pid is None or process.pid not in mine:
            continue
        size = used.get(process.card, 0) if process.memory_bytes is None else process.memory_bytes
        by_card[process.card] += size
        by_pid[process.pid] = by_pid.get(process.pid, 0) + size
    return Load(by_card, by_pid, tuple(mine[pid] for pid in sorted(by_pid)))


@dataclass(frozen=True, slots=True)
class Facts:
    """All that can stand in the way of a park."""

    box: str
    """What the parker says of the whole box."""
    leases: Sequence[Lease]
    """The notebook's."""
    cards: Sequence[Card]
    processes: Sequence[CardProcess]
    states: Mapping[int, CudaState]
    load: Load
    headroom: Headroom | None
    """None where the notebook has nothing on its cards: nothing is moved."""
    promised: int = 0
    """Bytes of memory that other parks are about to take."""
    refused: str = ""
    """What the driver said to these very processes before."""


def obstacle(facts: Facts) -> str:
    """Why the notebook cannot be parked now, for a person; empty: it can be tried. What never changes comes first."""
    leased = {lease.card for lease in facts.leases}
    reasons = (
        "" if leased else "it holds no GPU",
        facts.box,
        next((f"{lease.card[:12]} is shared: while it is parked others could take its memory there" for lease in facts.leases if shared(lease)), ""),
        next((f"{card.uuid[:12]} is a MIG instance, and the driver cannot park on those" for card in facts.cards if of_mig(card, leased)), ""),
        next((f"{p.card[:12]} does not say who uses it" for p in facts.processes if p.card in leased and p.pid is None), ""),
        lost(facts.states),
        facts.refused,
        too_big(facts.load.total, facts.headroom, facts.promised) if facts.headroom else "",
    )
    return next((reason for reason in reasons if reason), "")


def shared(lease: Lease) -> bool:
    return lease.sharing is not Sharing.EXCLUSIVE


def of_mig(card: Card, leased: Collection[str]) -> bool:
    return card.uuid in leased and card.mig_profile is not None


def too_big(size: int, headroom: Headroom, promised: int) -> str:
    """Whether the host's memory takes it. What the driver allocates for a process may be charged to its container: assume it is."""
    wanted = size + int(size * MARGIN_SHARE) + MARGIN_BYTES
    if headroom.own is not None and headroom.own < size + int(size * MARGIN_SHARE):
        left = gib(max(headroom.own, 0))
        return f"it has {gib(size)} on its GPUs, and its own memory limit leaves {left}: with a profile of more memory it could be parked"
    if headroom.box - promised < wanted:
        return f"it has {gib(size)} on its GPUs, and the box has {gib(max(headroom.box - promised, 0))} of memory free; {gib(wanted)} are wanted"
    return ""


def newcomers(states: Mapping[int, CudaState], processes: Sequence[CardProcess], pids: Collection[int], cards: Collection[str]) -> str:
    """Who of the notebook is on the cards although all of it is checkpointed; empty: the cards are free of it."""
    still = tuple(sorted(pid for pid, state in states.items() if state is not CudaState.CHECKPOINTED))
    if still:
        return f"{named(still)} began to use the GPU meanwhile"
    mine = [process for process in processes if process.card in cards and (process.pid is None or process.pid in pids)]
    return next((f"{process.card[:12]} still shows pid {process.pid or '?'}" for process in mine), "")


def way_back(held: Mapping[str, int], reachable: Collection[str], cards: Sequence[Card]) -> Request:
    """The cards that a parked notebook can be restored on: its own first; of the others those that its processes reach and that are the same model.

    Its own need not be shown at the moment: a driver that is being restarted shows none.
    """
    names = {card.name for card in cards if card.uuid in held}
    same = [card.uuid for card in cards if card.uuid in reachable and card.name in names] if len(names) == 1 else []
    return Request(count=len(held), memory_bytes=0, only=(*held, *(card for card in same if card not in held)), prefer=tuple(held))


def moves_of(held: Sequence[str], granted: Sequence[str]) -> Mapping[str, str]:
    """Old card to new; empty where every card is its own. The driver wants all cards in it, or none."""
    if set(held) == set(granted):
        return {}
    stay = [card for card in held if card in granted]
    free = [card for card in granted if card not in stay]
    return {card: card if card in stay else free.pop(0) for card in held}


def no_room(held: Mapping[str, int], moves: Mapping[str, str], cards: Sequence[Card], readings: Sequence[Reading]) -> str:
    """Which card has too little free memory for what comes back. A restore that runs out of memory can be the end of the process."""
    total = {card.uuid: card.memory_bytes for card in cards if card.memory_known}
    used = {reading.card: reading.used_bytes for reading in readings}
    for card, size in held.items():
        target = moves.get(card, card)
        taken = used.get(target)
        if target not in total or taken is None or not size:
            continue
        if total[target] - taken < size + CARD_MARGIN_BYTES:
            return f"{target[:12]} has {gib(total[target] - taken)} free, and {gib(size + CARD_MARGIN_BYTES)} are wanted"
    return ""


def retry_after(failures: int) -> float:
    """Seconds."""
    return min(FIRST_RETRY * 2.0 ** max(failures - 1, 0), LONGEST_RETRY)


def named(pids: Collection[int]) -> str:
    return f"{'pid' if len(pids) == 1 else 'pids'} {', '.join(str(pid) for pid in pids)}"


def gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
