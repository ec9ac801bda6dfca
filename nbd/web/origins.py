"""Which origin does a Host header name: the pages, one notebook, or nobody?

Every notebook has an origin of its own, so that the bytes a person's code serves can reach no cookie, page or notebook but that one. Hosts
are compared whole; a name that is not known gets no answer at all (DNS rebinding ends here).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..notebooks.model import ID

DEFAULT_PORTS = {"http": 80, "https": 443}
PAGES = ""
"""What `Origins.which` says for the pages' own origin; a notebook's id is never empty."""


@dataclass(frozen=True)
class Origins:
    scheme: str
    domain: str
    port: int
    aliases: frozenset[str] = frozenset()
    """Further hosts the pages answer on: the loopback addresses the door listens on."""

    @cached_property
    def suffix(self) -> str:
        return "" if DEFAULT_PORTS.get(self.scheme) == self.port else f":{self.port}"

    @cached_property
    def pages(self) -> str:
        return f"{self.scheme}://{self.domain}{self.suffix}"

    def notebook(self, id: str) -> str:
        return f"{self.scheme}://{id}.{self.domain}{self.suffix}"

    def pages_origins(self) -> frozenset[str]:
        return frozenset({self.pages} | {f"{self.scheme}://{alias}{self.suffix}" for alias in self.aliases})

    def of(self, host: str) -> str:
        """The origin of a host that `which` knows."""
        return f"{self.scheme}://{host.lower()}"

    def which(self, host: str) -> str | None:
        """PAGES, a notebook's id (whether or not it exists), or None: not ours."""
        name = host.lower()
        if self.suffix:
            if not name.endswith(self.suffix):
                return None
            name = name[: -len(self.suffix)]
        if name == self.domain or name in self.aliases:
            return PAGES
        id, dot, rest = name.partition(".")
        return id if dot and rest == self.domain and ID.fullmatch(id) else None
