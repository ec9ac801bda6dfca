"""One Podman network a notebook, and the nft table that closes this box and all other notebooks to it.

Theory. Podman's own isolation leaves the host's services, the host's other addresses and other networks open (measured:
docs/decisions/0003-network.md). So every bridge of ours has a name that starts with `nbd`, and one static table refuses what comes in
from any such bridge: to this box (input), to another such bridge and to link-local and metadata addresses (forward). The rules go by a name
prefix, so they hold before the first bridge exists, need no change per notebook, and survive Podman's reloads. Drops in our own base
chains are final whatever netavark accepts in its own.

The container gets the box's own name servers: there is no DNS server of ours to reach, so nothing on this box must be open to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from ..errors import Conflict, HostUnfit, NbdError, NotFound
from ..notebooks.spec import LABEL
from . import commands
from .podman import SHORT_SECONDS, Call, Podman, listed, understood

TABLE = "nbd"
PREFIX = "nbd"
NFT_SECONDS = 5.0
RULES = f"""
table inet {TABLE} {{}}
flush table inet {TABLE}
table inet {TABLE} {{
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname "{PREFIX}*" ct state established,related accept
    iifname "{PREFIX}*" drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname "{PREFIX}*" oifname "{PREFIX}*" drop
    oifname "{PREFIX}*" ct state established,related accept
    oifname "{PREFIX}*" drop
    iifname "{PREFIX}*" ip daddr 169.254.0.0/16 drop
    iifname "{PREFIX}*" ip6 daddr fe80::/10 drop
  }}
}}
"""
"""Forward drops go before the accept of answers, or two notebooks could answer each other. Nobody outside may open a connection to a
notebook: its editor is reached through its socket."""

class PodmanNetworks:
    def __init__(self, podman: Podman, instance: str) -> None:
        self._podman = podman
        self._instance = instance
        self._in_force: str | None = None

    async def ensure(self, notebook: str) -> str:
        await self.guard()
        name = network_name(notebook)
        body = {
            "name": name,
            "driver": "bridge",
            "network_interface": interface_name(notebook),
            "dns_enabled": False,
            "labels": {f"{LABEL}instance": self._instance, f"{LABEL}id": notebook},
        }
        try:
            await self._podman.ask(Call("POST", "/networks/create", body=body, seconds=SHORT_SECONDS))
        except Conflict:
            return name
        return name

    async def remove(self, notebook: str) -> None:
        try:
            await self._podman.ask(Call("DELETE", f"/networks/{network_name(notebook)}", {"force": "false"}, seconds=SHORT_SECONDS))
        except NotFound:
            return

    async def existing(self) -> Collection[str]:
        filters = f'{{"label":["{LABEL}instance={self._instance}"]}}'
        answer = await self._podman.ask(Call("GET", "/networks/json", {"filters": filters}, seconds=SHORT_SECONDS))
        items = listed(answer)
        with understood():
            return frozenset(item["labels"][f"{LABEL}id"] for item in items if f"{LABEL}id" in (item.get("labels") or {}))

    async def guard(self) -> None:
        """The table is compared with how nft showed it right after we wrote it: one rule more or less, or in another place, is not ours."""
        if self._in_force is not None and await self._shown() == self._in_force:
            return
        made = await commands.run(["nft", "-f", "-"], NFT_SECONDS, RULES)
        if made.code != 0:
            hint = "a notebook with a network starts only behind them; is nf_tables in this kernel? modprobe nf_tables"
            raise HostUnfit(f"nft refused nbd's rules: {made.err.strip()[:300]}", code="no_firewall", hint=hint)
        self._in_force = await self._shown()

    async def _shown(self) -> str | None:
        """The table as nft prints it; None when there is none."""
        present = await commands.run(["nft", "list", "table", "inet", TABLE], NFT_SECONDS)
        return present.out if present.code == 0 else None

    async def health(self) -> str:
        try:
            await self.guard()
        except NbdError as error:
            return str(error)
        return "ok"

    async def take_down(self) -> None:
        """Remove the table, when no network of any nbd is left on this box."""
        answer = await self._podman.ask(Call("GET", "/networks/json", {"filters": f'{{"label":["{LABEL}instance"]}}'}, seconds=SHORT_SECONDS))
        if answer:
            return
        await commands.run(["nft", "delete", "table", "inet", TABLE], NFT_SECONDS)


def network_name(notebook: str) -> str:
    return f"nbd-{notebook}"


def interface_name(notebook: str) -> str:
    """Everybody on the box sees interfaces, so the name tells nothing; the kernel allows 15 characters."""
    return PREFIX + hashlib.sha256(notebook.encode()).hexdigest()[:10]
