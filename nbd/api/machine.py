"""Routes of the box: its GPUs, what may be started on them, images, status."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from .. import __version__, wire
from ..errors import InvalidInput, NbdError, NotFound
from ..gpus.model import Lease, Refusal
from ..gpus.pool import Pool, Survey
from ..messages import CardProcessView, CardView, CheckReport, GpusView, ImageView, PersonView, ProfileView, Progress, StatusView
from ..notebooks.image import Base
from ..notebooks.images import Images
from ..notebooks.model import Notebook
from ..notebooks.roster import Roster
from ..notebooks.spec import HostLimits, image_of
from ..people.access import may_use
from ..people.model import Person
from ..profiles import Profile
from .routes import Ask, Route, Stream, Who

GIB = 1 << 30
REMEMBER_SECONDS = 1.0
Clock = Callable[[], float]
NDJSON = "application/x-ndjson"
Profiles = Callable[[], Mapping[str, Profile]]


@dataclass(frozen=True, slots=True)
class Site:
    """What the status page says of this daemon."""

    instance: str
    host: str
    started: float
    web: str
    image_prefix: str
    profiles: Profiles
    default_profile: str
    limits: HostLimits
    look_again: Callable[[], Awaitable[object]]
    """Reconcile now."""


class MachineRoutes:
    def __init__(self, pool: Pool, roster: Roster, images: Images, site: Site, health: Health) -> None:
        self._pool = pool
        self._roster = roster
        self._images = images
        self._site = site
        self._profiles = site.profiles
        self._health = health

    def routes(self) -> list[Route]:
        base = {"base": "auto, registry or debootstrap: where Debian comes from"}
        return [
            Route("GET", "/v1/status", "How nbd is, part by part", StatusView, self.status),
            Route("GET", "/v1/gpus", "Cards, who has them, who waits", GpusView, self.gpus),
            Route("POST", "/v1/gpus/{uuid}/release", "Put a quarantined card back into service", GpusView, self.release, who=Who.ADMIN),
            Route("GET", "/v1/profiles", "What you may start, and whether it fits now", tuple[ProfileView, ...], self.profiles),
            Route("GET", "/v1/profiles/{name}", "One profile", ProfileView, self.profile),
            Route("GET", "/v1/images", "Images of the profiles", tuple[ImageView, ...], self.images),
            Route("POST", "/v1/images/{name}/build", "Build one", Progress, stream=self.build, content_type=NDJSON, who=Who.ADMIN, query=base),
            Route("POST", "/v1/images/{name}/check", "Start one for a try", CheckReport, self.check, who=Who.ADMIN),
        ]

    async def status(self, ask: Ask) -> StatusView:
        who = ask.person
        rows = [row for row in self._roster.all() if who.admin or row.owner == who.name]
        counts = Counter(row.state.value for row in rows)
        survey, parts = await asyncio.gather(self._pool.survey(), self._health.parts())
        parts["gpus"] = survey.driver.reason or "ok"
        person = PersonView(who.name, who.uid, who.admin, who.home)
        site = self._site
        return StatusView(__version__, site.instance, site.host, site.started, person, dict(counts), parts, survey.driver.simulated, site.web)

    async def gpus(self, ask: Ask) -> GpusView:
        survey = await self._pool.survey()
        rows = {row.id: row for row in self._roster.all()}
        owners = await self._health.owners_of([process.pid for process in survey.processes if process.pid is not None], rows.values())
        cards = tuple(card_view(survey, position, owners) for position in range(len(survey.cards)))
        queue = tuple(waiter.holder for waiter in survey.waiters)
        return GpusView(cards, survey.driver.simulated, survey.driver.reason, survey.driver.version, queue)

    async def release(self, ask: Ask) -> GpusView:
        if ask.args["uuid"] not in (await self._pool.survey()).quarantines:
            raise NotFound(f"no card {ask.args['uuid'][:60]} is in quarantine", hint="see: nbctl gpus")
        await self._pool.lift(ask.args["uuid"])
        # The notebook that the card was kept from has a lease still; nobody should wait for the next look to have it ended.
        await self._site.look_again()
        return await self.gpus(ask)

    async def profiles(self, ask: Ask) -> list[ProfileView]:
        """What a start without a choice would get comes first."""
        offered = sorted(self._offered(ask.person).values(), key=lambda profile: (profile.name != self._site.default_profile, profile.name))
        return [await self._profile_view(profile) for profile in offered]

    async def profile(self, ask: Ask) -> ProfileView:
        offered = self._offered(ask.person)
        if ask.args["name"] not in offered:
            raise NotFound(f"there is no profile {ask.args['name'][:60]!r}", hint="see: nbctl profile ls")
        return await self._profile_view(offered[ask.args["name"]])

    async def images(self, ask: Ask) -> list[ImageView]:
        present = {facts.reference: facts for facts in await self._images.list()}
        named = {profile.image: image_of(profile, self._site.image_prefix) for profile in self._profiles().values()}
        views = []
        for name, reference in sorted(named.items()):
            facts = present.get(reference)
            size, made = (facts.size_bytes, facts.created) if facts else (None, None)
            views.append(ImageView(name, reference, facts is not None, size, made, facts.versions if facts else {}))
        return views

    async def build(self, ask: Ask, stream: Stream) -> None:
        base = ask.query.get("base", "auto")
        if base not in list(Base):
            raise InvalidInput(f"base must be one of {', '.join(Base)}, not {base[:40]!r}")
        async with aclosing(self._images.build(ask.args["name"], Base(base))) as steps:
            async for progress in steps:
                await stream.send(wire.encode(progress) + "\n")
        await stream.send('{"done":true}\n')

    async def check(self, ask: Ask) -> CheckReport:
        known = {profile.image: image_of(profile, self._site.image_prefix) for profile in self._profiles().values()}
        return await self._images.check(known.get(ask.args["name"], ask.args["name"]))

    def _offered(self, person: Person) -> Mapping[str, Profile]:
        return {name: profile for name, profile in self._profiles().items() if may_use(person, profile.groups)}

    async def _profile_view(self, profile: Profile) -> ProfileView:
        available, reason = await self._fits(profile)
        request = profile.gpu_request(None)
        # What a notebook would really get: a profile may promise more than this box has.
        cpus, memory = min(profile.cpus, self._site.limits.cpus), min(profile.memory, self._site.limits.memory_bytes)
        return ProfileView(
            profile.name, profile.title, profile.description, profile.editor, profile.image, cpus, memory,
            request.count if request else 0, gpu_text(profile), available, reason,
        )  # fmt: skip

    async def _fits(self, profile: Profile) -> tuple[bool, str]:
        request = profile.gpu_request(None)
        if request is None:
            return True, ""
        try:
            answer = await self._pool.preview(request)
        except NbdError as error:
            return False, str(error)
        if isinstance(answer, Refusal):
            return False, await self._pool.absence() or answer.summary
        return True, f"free now: {answer.reason}"


class Health:
    """The state of the parts, each asked by a function that answers "ok" or what is wrong; and who owns which process."""

    def __init__(self, checks: Mapping[str, Callable[[], Awaitable[str]]], container_of: Callable[[int], str | None], clock: Clock) -> None:
        self._checks = checks
        self._container_of = container_of
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answers: dict[str, str] = {}

    async def parts(self) -> dict[str, str]:
        """How they were at most REMEMBER_SECONDS ago: many who ask at once must not each start a firewall tool."""
        async with self._asking:
            if self._clock() - self._asked_at > REMEMBER_SECONDS:
                # All at once: together they take as long as the slowest.
                answers = await asyncio.gather(*(check() for check in self._checks.values()))
                self._answers, self._asked_at = dict(zip(self._checks, answers, strict=True)), self._clock()
            return dict(self._answers)

    async def owners_of(self, pids: list[int], rows: Iterable[Notebook]) -> dict[int, str]:
        """Pid to "owner/name", for pids in a notebook's container."""
        by_container = {row.container: row.title for row in rows if row.container}
        found = {pid: self._container_of(pid) for pid in pids}
        return {pid: by_container[container] for pid, container in found.items() if container in by_container}


def card_view(survey: Survey, position: int, owners: Mapping[int, str]) -> CardView:
    card = survey.cards[position]
    reading = next((reading for reading in survey.readings if reading.card == card.uuid), None)
    processes = [process for process in survey.processes if process.card == card.uuid and process.pid is not None]
    return CardView(
        uuid=card.uuid,
        name=card.name,
        memory_bytes=card.memory_bytes,
        used_bytes=reading.used_bytes if reading else None,
        utilisation=reading.utilisation if reading else None,
        temperature_celsius=reading.temperature_celsius if reading else None,
        power_watts=reading.power_watts if reading else None,
        mig_profile=card.mig_profile,
        parent=card.parent,
        quarantine=card.quarantine,
        holders=tuple(holder_text(lease) for lease in survey.leases if lease.card == card.uuid),
        processes=tuple(CardProcessView(process.pid or 0, process.memory_bytes, owners.get(process.pid or 0)) for process in processes),
    )


def holder_text(lease: Lease) -> str:
    return lease.holder + (f" ({lease.memory_bytes / GIB:.3g} GiB)" if lease.memory_bytes else "")


def gpu_text(profile: Profile) -> str:
    """ "1 GPU with 24 GiB or more", empty for none."""
    offer = profile.gpu
    if offer is None or offer.count == 0:
        return ""
    what = f"MIG {offer.mig}" if offer.mig else " or ".join(offer.models) if offer.models else "GPU"
    many = f"{offer.count} × {what}" if offer.models or offer.mig else f"{offer.count} GPU{'s' if offer.count > 1 else ''}"
    if offer.shared:
        return f"{offer.memory / GIB:.3g} GiB of a shared {what}"
    return many + (f" with {offer.memory / GIB:.3g} GiB or more" if offer.memory else "")
