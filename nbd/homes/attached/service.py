"""All attached data of this box: core's partner for it in `nbd sync`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from ...attachments import AttachedView
from ...errors import Conflict, NotFound
from .carrier import Carrier, Means
from .model import Attachment
from .ports import Hands
from .sender import Tally
from .views import view


class AttachedData:
    def __init__(self, means: Means) -> None:
        self._means = means
        self._carriers = {one.id: Carrier(one, means) for one in means.shelf.all()}

    def begin(self) -> None:
        """What a sync before this one did not bring up, or a notebook wrote meanwhile, goes up now."""
        for carrier in self._carriers.values():
            if carrier.attachment.writable:
                carrier.wake()

    async def ready(self, attachment: Attachment) -> bool:
        """Whether it is in step without anything coming down. Raises as Carrier.bring."""
        return await (await self._kept(attachment)).bring(None, Tally())

    async def bring(self, attachment: Attachment, hands: Hands, tally: Tally) -> None:
        """Raises as Carrier.bring."""
        await (await self._kept(attachment)).bring(hands, tally)

    def use(self, ids: Collection[str]) -> None:
        """Exactly these are in use. May be told again and again."""
        for one, carrier in self._carriers.items():
            carrier.use(used=one in ids)

    def health(self) -> str:
        """ "ok", or what is wrong with how many."""
        known = [carrier.known for carrier in self._carriers.values()]
        wrong = {
            "not in step": sum(one.trouble is not None for one in known),
            "with deletions that wait for a word": sum(bool(one.withheld) for one in known),
        }
        return "; ".join(f"{number} attached folder{'s' * (number > 1)} {what}" for what, number in wrong.items() if number) or "ok"

    async def flush(self, ids: Collection[str]) -> None:
        """Return when what is here is there, for each. Raises the first reason why not, when all have tried."""
        carriers = [carrier for one, carrier in self._carriers.items() if one in ids]
        found = await asyncio.gather(*(carrier.flush() for carrier in carriers), return_exceptions=True)
        for error in found:
            if error is not None:
                raise error

    async def views(self, person: str, ids: Collection[str]) -> Sequence[AttachedView]:
        """A person's, and of the shared ones those that are named."""
        mine = [one for one in self._carriers.values() if one.attachment.person == person or (one.attachment.id in ids and not one.attachment.person)]
        ledgers = [await self._means.shelf.ledger(carrier.attachment.id) for carrier in mine]
        return [view(carrier, ledger.known) for carrier, ledger in zip(mine, ledgers, strict=True)]

    async def confirm(self, person: str, one: str) -> None:
        await self._of(person, one).confirm()

    async def forget(self, person: str, one: str) -> Attachment:
        """Not known any more when it returns; its folder is the caller's to remove. Raises Conflict while something would be lost."""
        carrier = self._of(person, one)
        if carrier.used:
            raise Conflict(f"{carrier.attachment.url} is in use", hint="stop the notebooks that have it")
        await carrier.flush()
        if carrier.known.withheld or carrier.known.waiting:
            raise Conflict(f"{carrier.attachment.url} is not in step", hint="nbctl home attached says why")
        await carrier.close()
        del self._carriers[one]
        await self._means.shelf.drop(one)
        return carrier.attachment

    async def entrust(self, person: str, url: str, options: Mapping[str, str]) -> None:
        await self._means.shelf.entrust(person, url, options)

    async def close(self) -> None:
        await asyncio.gather(*(carrier.close() for carrier in self._carriers.values()))

    async def _kept(self, attachment: Attachment) -> Carrier:
        await self._means.shelf.keep(attachment)
        carrier = self._carriers.setdefault(attachment.id, Carrier(attachment, self._means))
        carrier.attachment = attachment
        return carrier

    def _of(self, person: str, one: str) -> Carrier:
        carrier = self._carriers.get(one)
        if carrier is None or carrier.attachment.person != person:
            raise NotFound(f"nothing of yours is attached as {one[:40]!r}", hint="see: nbctl home attached")
        return carrier
