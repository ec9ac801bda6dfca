"""What the web door must be told. The composition root of the process that runs it fills this in."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from .origins import Origins


@dataclass(frozen=True, slots=True)
class DoorSettings:
    core_socket: Path
    """Where core's API listens."""
    listen: str = "127.0.0.1:8686"
    """Address and port of the door; the port is also the one people see in the address bar."""
    domain: str = "localhost"
    """The pages are on this name, each notebook on `<id>.` of it."""
    scheme: str = "http"
    """What people type: "https" where something in front of the door ends TLS. Decides the cookies' Secure flag."""
    tell_seconds: float = 5.0
    """How often core hears what passed to and from the notebooks."""
    stop_seconds: float = 5.0
    """How long running answers may take to end when the door stops."""

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    def origins(self, port: int) -> Origins:
        """`port` is the one really listened on, which differs where 0 was asked for."""
        public = {"https": 443}.get(self.scheme, port)
        return Origins(self.scheme, self.domain, public, loopback_aliases(self.host))


def loopback_aliases(host: str) -> frozenset[str]:
    """The pages answer on a loopback address they listen on, for who types that; never on another address, which DNS could rebind."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return frozenset()
    if not address.is_loopback:
        return frozenset()
    return frozenset({f"[{host}]" if address.version == 6 else host})
