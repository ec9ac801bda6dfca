"""nbd's nft rules, proved with packets, in network namespaces of the tests' own: nothing of this machine's network is touched.

    notebook one ── nbdone ┐
                           host ── uplink ── outside
    notebook two ── nbdtwo ┘

Every refusal is shown twice: without the rules the same connection is made, so it is the rules that refuse it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nbd.errors import HostUnfit
from nbd.host.networks import TABLE, PodmanNetworks, interface_name
from nbd.host.podman import Podman
from nbd.notebooks.spec import LABEL
from tests.conftest import lines_of
from tests.fakes.podman_chaos import ChaosPodman, answers

pytestmark = pytest.mark.real
SERVE = """
    import socket, sys, threading
    def serve(sock):
        while True:
            sock.accept()[0].close()
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((any_address, 8080)); sock.listen()
        threading.Thread(target=serve, args=(sock,)).start()
    print("ready", flush=True)
"""
TRY = """
    import json, socket, sys
    from concurrent.futures import ThreadPoolExecutor
    def reaches(address):
        try:
            socket.create_connection((address, 8080), timeout=1.0).close()
        except OSError as error:
            return str(error)
        return "open"
    addresses = sys.argv[1:]
    print(json.dumps(dict(zip(addresses, ThreadPoolExecutor(20).map(reaches, addresses)))))
"""
OF_THE_HOST = ("10.89.77.1", "10.89.78.1", "198.51.100.1", "169.254.169.254", "fd77::1", "fd78::1", "fd99::1")
OF_ANOTHER_NOTEBOOK = ("10.89.78.2", "fd78::2")
LINK_LOCAL_OUTSIDE = ("169.254.170.2",)
OUTSIDE = ("198.51.100.2", "fd99::2")
REFUSED = (*OF_THE_HOST, *OF_ANOTHER_NOTEBOOK, *LINK_LOCAL_OUTSIDE)


class Space:
    """A network namespace, held by a process that does nothing."""

    def __init__(self, kept: ExitStack) -> None:
        self._kept = kept
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 1000"], stdout=subprocess.PIPE, text=True
        )
        kept.callback(ended, self._holder)
        self.pid = self._holder.pid
        ready(self._holder)

    def run(self, *argv: str, given: str = "") -> str:
        inside = ("nsenter", f"--net=/proc/{self.pid}/ns/net", *argv)
        done = subprocess.run(inside, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        for line in lines:
            self.run("ip", *line.split())

    def python(self, script: str, *args: str) -> str:
        return self.run(sys.executable, "-c", textwrap.dedent(script), *args)

    def serve(self) -> None:
        inside = ["nsenter", f"--net=/proc/{self.pid}/ns/net", sys.executable, "-c", textwrap.dedent(SERVE)]
        server = subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)
        self._kept.callback(ended, server)
        ready(server)

    def reach(self, *addresses: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.python(TRY, *addresses))
        return found


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


class World:
    def __init__(self, kept: ExitStack) -> None:
        self.host, self.one, self.two, self.outside = (Space(kept) for _ in range(4))
        for name, space, net in (("one", self.one, 77), ("two", self.two, 78)):
            self._notebook(name, space, net)
        self._uplink()
        for family in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.host.run("sh", "-c", f"echo 1 > /proc/sys/{family}")
        for space in (self.host, self.one, self.two, self.outside):
            space.serve()
        deadline = time.monotonic() + 20
        while self.refused():  # addresses of IPv6 take a moment until they are used
            assert time.monotonic() < deadline, f"the namespaces are not wired: {self.refused()}"

    def _notebook(self, name: str, space: Space, net: int) -> None:
        self.host.ip(
            f"link add nbd{name} type bridge", f"link add v{name} type veth peer name eth0 netns {space.pid}",
            f"link set v{name} master nbd{name} up",
            f"addr add 10.89.{net}.1/24 dev nbd{name}", f"addr add fd{net}::1/64 dev nbd{name} nodad", f"link set nbd{name} up",
        )  # fmt: skip
        space.ip(
            f"addr add 10.89.{net}.2/24 dev eth0", f"addr add fd{net}::2/64 dev eth0 nodad", "link set eth0 up",
            f"route add default via 10.89.{net}.1",
            f"-6 route add default via fd{net}::1",
        )  # fmt: skip

    def _uplink(self) -> None:
        self.host.ip(
            f"link add uplink type veth peer name eth0 netns {self.outside.pid}", "addr add 198.51.100.1/24 dev uplink",
            "addr add fd99::1/64 dev uplink nodad", "link set uplink up", "addr add 169.254.169.254/32 dev lo",
            "route add 169.254.170.2 via 198.51.100.2 onlink dev uplink",
        )  # fmt: skip
        self.outside.ip(
            "addr add 198.51.100.2/24 dev eth0", "addr add fd99::2/64 dev eth0 nodad", "addr add 169.254.170.2/32 dev lo", "link set eth0 up",
            "route add default via 198.51.100.1", "-6 route add default via fd99::1",
        )  # fmt: skip

    def product(self, *what: str, socket: str = "/none") -> str:
        """Run methods of the product's in one process, as on a host whose network is this one; the last one's answer."""
        calls = "; ".join(f"last = await networks.{name}()" for name in what)
        script = f"""
            import asyncio
            from nbd.host.networks import PodmanNetworks
            from nbd.host.podman import Podman
            async def main():
                podman = Podman({socket!r}, 5.0)
                networks = PodmanNetworks(podman, "/test")
                {calls}
                print(last)
                await podman.close()
            asyncio.run(main())
        """
        return self.host.python(script).strip()

    def table(self) -> str:
        return self.host.run("nft", "list", "ruleset")

    def refused(self) -> set[str]:
        return {address for address, answer in self.one.reach(*REFUSED, *OUTSIDE).items() if answer != "open"}


@contextmanager
def world() -> Iterator[World]:
    with ExitStack() as kept:
        yield World(kept)


@pytest.fixture(scope="module")
def wired(podman_socket: Path) -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def bare(wired: World) -> World:
    """The namespaces, without any rule."""
    wired.host.run("nft", "flush", "ruleset")
    return wired


def test_a_notebook_reaches_the_world_and_nothing_of_this_box(bare: World) -> None:
    assert bare.refused() == set(), "without the rules all of it is open"
    bare.product("guard")
    assert bare.one.reach(*REFUSED) == dict.fromkeys(REFUSED, "timed out")
    assert bare.one.reach(*OUTSIDE) == dict.fromkeys(OUTSIDE, "open")


def test_nobody_outside_reaches_a_notebook(bare: World) -> None:
    notebook = ("10.89.77.2", "fd77::2")
    assert set(bare.outside.reach(*notebook).values()) == {"open"}
    bare.product("guard")
    assert set(bare.outside.reach(*notebook).values()) == {"timed out"}
    assert set(bare.two.reach(*notebook).values()) == {"timed out"}
    assert set(bare.host.reach(*notebook).values()) == {"open"}, "the box itself may"


def test_a_permissive_firewall_of_somebody_else_opens_nothing(bare: World) -> None:
    bare.host.run("nft", "-f", "-", given="""
        table inet other {
          chain input { type filter hook input priority filter - 200; policy accept; accept; }
          chain forward { type filter hook forward priority filter; policy accept; accept; }
        }
    """)  # fmt: skip
    bare.product("guard")
    assert bare.refused() == set(REFUSED)


def test_links_that_are_not_nbds_go_on_as_before(bare: World) -> None:
    bare.product("guard")
    assert bare.outside.reach("198.51.100.1") == {"198.51.100.1": "open"}
    assert bare.host.reach("198.51.100.2", "127.0.0.1") == {"198.51.100.2": "open", "127.0.0.1": "open"}


HARM = {
    "flushed": "flush ruleset",
    "deleted": f"delete table inet {TABLE}",
    "a chain emptied": f"flush chain inet {TABLE} input",
    "the other chain emptied": f"flush chain inet {TABLE} forward",
    "emptied": f"flush table inet {TABLE}",
    "a policy changed": f"chain inet {TABLE} forward {{ policy drop; }}",
}


@pytest.mark.parametrize("harm", HARM.values(), ids=list(HARM))
def test_the_guard_repairs(bare: World, harm: str) -> None:
    bare.product("guard")
    whole = bare.table()
    bare.host.run("nft", "-f", "-", given=harm)
    assert bare.table() != whole
    bare.product("guard")
    assert bare.table() == whole
    assert bare.refused() == set(REFUSED)


def test_the_guard_changes_nothing_when_all_is_well(bare: World) -> None:
    """A process writes the rules once; from then on it only looks: the rules keep their handles, which nft gives out anew with each write."""
    script = """
        import asyncio, subprocess
        from nbd.host.networks import PodmanNetworks
        from nbd.host.podman import Podman
        def handles():
            return subprocess.run(["nft", "-a", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        async def main():
            podman = Podman("/none", 5.0)
            networks = PodmanNetworks(podman, "/test")
            await networks.guard()
            first = handles()
            await networks.guard()
            assert await networks.health() == "ok"
            print(first == handles() and "nbd*" in first)
            await podman.close()
        asyncio.run(main())
    """
    assert bare.host.python(script).strip() == "True"


async def test_the_table_goes_with_the_last_network_of_any_nbd(bare: World, short_path: Path) -> None:
    bare.host.run("nft", "add", "table", "inet", "other")
    await asyncio.to_thread(bare.product, "guard")
    somebodys = [{"name": "nbd-x", "labels": {f"{LABEL}instance": "/another"}}]
    async with ChaosPodman(short_path / "podman.sock", answers(somebodys)) as service:
        await asyncio.to_thread(bare.product, "take_down", socket=str(service.path))
        assert f"table inet {TABLE}" in bare.table()
        service.sin = answers([])
        for _ in range(2):
            await asyncio.to_thread(bare.product, "take_down", socket=str(service.path))
            assert bare.table() == "table inet other {\n}\n", "another's table went too, or ours stayed"


async def test_a_kernel_without_nft_is_said(short_path: Path) -> None:
    """As nobody in particular, nft cannot work: the same answer as of a kernel without it."""
    refusing = short_path / "nft"
    refusing.write_text("#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n")
    refusing.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{short_path}:{path}"
    try:
        networks = PodmanNetworks(Podman("/none", 1.0), "/test")
        with pytest.raises(HostUnfit) as caught:
            await networks.guard()
        assert caught.value.code == "no_firewall"
        assert "modprobe nf_tables" in await networks.health()
    finally:
        os.environ["PATH"] = path


@pytest.fixture
async def networks(podman_socket: Path, short_path: Path) -> AsyncIterator[PodmanNetworks]:
    """On this machine's Podman: only networks of this test are made and removed; rules that were there stay."""
    had = f"table inet {TABLE}" in lines_of("nft", "list", "tables")
    podman = Podman(str(podman_socket), 30.0)
    made = PodmanNetworks(podman, str(short_path))
    try:
        yield made
    finally:
        for notebook in await made.existing():
            await made.remove(notebook)
        if not had:
            await made.take_down()
        await podman.close()


async def test_a_network_is_made_once_and_removed_once(networks: PodmanNetworks, podman_socket: Path) -> None:
    mine = f"t{os.getpid():09d}"
    assert await networks.existing() == frozenset()
    assert [await networks.ensure(mine) for _ in range(2)] == [f"nbd-{mine}"] * 2
    assert f"table inet {TABLE}" in lines_of("nft", "list", "tables"), "the rules are there before the first packet can be"
    assert await networks.existing() == {mine}
    podman = Podman(str(podman_socket), 30.0)
    assert await PodmanNetworks(podman, "/another").existing() == frozenset(), "another nbd does not take it for its own"
    await podman.close()
    await networks.take_down()
    assert f"table inet {TABLE}" in lines_of("nft", "list", "tables"), "somebody still needs the rules"
    for _ in range(2):
        await networks.remove(mine)
    assert await networks.existing() == frozenset()


def test_an_interface_tells_nobody_whose_notebook_it_is_for() -> None:
    names = {interface_name(f"n{number:09}") for number in range(1000)}
    assert len(names) == 1000
    for name in names:
        assert name.startswith(TABLE)
        assert len(name) <= 15, "IFNAMSIZ"
    assert "nada000001" not in interface_name("nada000001")
