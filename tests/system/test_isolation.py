"""What a running notebook can do, seen from inside: it is its person and no more, and neither this box nor another notebook can be reached."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from nbd.host.networks import interface_name

from .jupyter import jupyter
from .real_box import Person, RealBox, account, add_profile, podman, real_box, short_folder

pytestmark = pytest.mark.real
METADATA = "169.254.169.254"
CONNECT = """
def connect(address):
    host, port, scope = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(1.5)
        try:
            s.connect((host, port, 0, socket.if_nametoindex("eth0")) if scope else (host, port))
        except OSError as error:
            return f"no: {error}"
        return "reached"
import concurrent.futures, json, socket
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(connect, ADDRESSES))))
"""


@dataclass
class Flat:
    """A box with three notebooks of one person: two with a network, one without."""

    box: RealBox
    who: Person
    kernels: dict[str, str]

    def inside(self, name: str, code: str) -> str:
        """What the code prints in the notebook's own kernel."""
        view = self.box.show(name)

        async def run() -> str:
            async with jupyter(self.box.editor_socket(view["id"])) as editor:
                self.kernels[name] = self.kernels.get(name) or await editor.new_kernel()
                return await editor.run(self.kernels[name], code)

        return asyncio.run(run())

    def value(self, expression: str, name: str = "main", before: str = "") -> Any:
        return json.loads(self.inside(name, f"{before}\nimport json, os\nprint(json.dumps({expression}))"))

    def reached(self, addresses: Sequence[tuple[str, int, bool]]) -> list[str]:
        answers: list[str] = json.loads(self.inside("main", f"ADDRESSES = {addresses}\n{CONNECT}"))
        return answers


@pytest.fixture(scope="module")
def flat() -> Iterator[Flat]:
    with short_folder() as folder, account("nbdtest-fay") as fay:
        add_profile(folder / "d", "alone", 'title = "Alone"\nnetwork = "none"\n')
        with real_box(folder, who=fay) as box:
            for name, profile in (("main", "cpu-small"), ("second", "cpu-small"), ("alone", "alone")):
                box.ask("start", name, "--profile", profile)
            yield Flat(box, fay, {})


def test_it_is_the_person_and_no_more(flat: Flat) -> None:
    for process in ("self", "1"):
        status = flat.value(f"dict(l.split(':', 1) for l in open('/proc/{process}/status'))")
        told = {key: value.split() for key, value in status.items()}
        assert told["Uid"] == [str(flat.who.uid)] * 4
        assert told["Gid"] == [str(flat.who.gid)] * 4
        assert set(told["Groups"]) <= {str(flat.who.gid)}
        assert {told[cap][0] for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (told["NoNewPrivs"], told["Seccomp"]) == (["1"], ["2"])
    flat.inside("main", "open('mine', 'w').write('x')")
    assert (flat.who.home / "mine").stat().st_uid == flat.who.uid


def test_where_it_may_write(flat: Flat) -> None:
    code = """
import os
def writes(folder):
    try:
        with open(f"{folder}/nbd-test", "w"):
            pass
        os.remove(f"{folder}/nbd-test")
    except OSError as error:
        return error.strerror
    return "yes"
"""
    folders = ["/", "/etc", "/usr", "/opt/nbd", "/var", "/home", "/tmp", "/var/tmp", "/dev/shm", str(flat.who.home)]
    may = flat.value(f"{{folder: writes(folder) for folder in {folders}}}", before=code)
    allowed = {"/tmp", "/var/tmp", "/dev/shm", str(flat.who.home)}
    assert {folder for folder, answer in may.items() if answer == "yes"} == allowed
    root = flat.inside("main", "print([l.split()[5].split(',')[0] for l in open('/proc/self/mountinfo') if l.split()[4] == '/'])")
    assert root == "['ro']\n"


def test_its_limits(flat: Flat) -> None:
    limits = flat.value("[r.getrlimit(kind) for kind in (r.RLIMIT_NOFILE, r.RLIMIT_NPROC, r.RLIMIT_CORE)]", before="import resource as r")
    assert limits[0][1] <= 65536
    assert limits[1][1] <= 2048
    assert limits[2] == [0, 0]
    facts = json.loads(podman("inspect", flat.box.show()["container"]))[0]["HostConfig"]
    assert (facts["Memory"], facts["MemorySwap"], facts["PidsLimit"]) == (4 << 30, 4 << 30, 2048)
    assert facts["CpuQuota"] == 2 * facts["CpuPeriod"]
    assert not facts["Privileged"]


def test_it_sees_nothing_of_the_host(flat: Flat) -> None:
    seen = set(flat.value("[file for top in ('/run', '/var/run/') for _, _, files in os.walk(top) for file in files]"))
    assert seen <= {"editor.sock", ".containerenv", "podman-init"}
    assert not flat.value(f"os.path.exists({str(flat.box.folder)!r})")
    processes = flat.value("[open(f'/proc/{pid}/cmdline').read() for pid in os.listdir('/proc') if pid.isdigit()]")
    assert processes
    assert not any("podman system" in line or "conmon" in line or str(flat.box.folder) in line for line in processes)
    users = flat.inside("main", "print(sorted(l.split(':')[0] for l in open('/etc/passwd')))")
    assert users == f"{sorted(['root', 'nobody', flat.who.name])}\n"


def test_no_secret_where_all_can_read(flat: Flat) -> None:
    """The editor has no token, and nothing in its environment or command line is worth stealing."""
    view = flat.box.show()
    facts = json.loads(podman("inspect", view["container"]))[0]
    inside = flat.value("['='.join(pair) for pair in os.environ.items()]")
    for text in (*facts["Config"]["Env"], *facts["Config"]["Cmd"], *inside):
        name, _, value = text.partition("=")
        assert not (value and any(word in name.upper() for word in ("TOKEN", "SECRET", "PASSWORD", "KEY", "COOKIE", "CREDENTIAL"))), text
    # Only the web program and the person may enter the folder of the socket, which is the lock on the editor's door.
    folder = flat.box.editor_socket(view["id"]).parent
    assert (folder.stat().st_mode & 0o7777, folder.stat().st_uid) == (0o2770, flat.who.uid)
    refused = subprocess.run(["ls", str(folder)], user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False)
    assert "Permission denied" in refused.stderr


@contextmanager
def listening_everywhere() -> Iterator[int]:
    """A service of this box, on every address that it has."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def own_addresses(bridge: str) -> list[tuple[str, bool]]:
    """Of this box: all IPv4, and the IPv6 that is on the notebook's own link. Whether it needs a scope."""
    found = psutil.net_if_addrs()
    four = [(address.address, False) for link in found.values() for address in link if address.family == socket.AF_INET]
    six = [(address.address.partition("%")[0], True) for address in found.get(bridge, []) if address.family == socket.AF_INET6]
    return [address for address in four if not address[0].startswith("127.")] + six


@contextmanager
def metadata_service() -> Iterator[None]:
    """A cloud's own address, here on this box alone."""
    subprocess.run(["ip", "address", "add", f"{METADATA}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "del", f"{METADATA}/32", "dev", "lo"], check=True)


def test_this_box_cannot_be_reached(flat: Flat) -> None:
    with metadata_service(), listening_everywhere() as port:
        addresses = own_addresses(interface_name(flat.box.show()["id"]))
        assert METADATA in {address for address, _ in addresses}
        assert len(addresses) >= 3, "the metadata address, the bridge's and the box's own"
        asked = [(address, port, scope) for address, scope in addresses]
        answers = flat.reached(asked)
        assert all(answer.startswith("no: ") for answer in answers), dict(zip(asked, answers, strict=True))
        # It is nbd's rules that do it: a container of somebody else's, on Podman's own network, gets through to the same addresses.
        four = [address for address in asked if not address[2]]
        other = podman("run", "--rm", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=16384:16384", "localhost/nbd/jupyter:latest",
                       "python3", "-c", f"ADDRESSES = {four}\n{CONNECT}")  # fmt: skip
        assert json.loads(other) == ["reached"] * len(four)


def test_another_notebook_cannot_be_reached(flat: Flat) -> None:
    network = json.loads(podman("inspect", flat.box.show("second")["container"]))[0]["NetworkSettings"]["Networks"]
    (address,) = [facts["IPAddress"] for facts in network.values()]
    port = int(flat.inside("second", "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1])"))
    with socket.create_connection((address, port), timeout=5):
        pass  # From this box it can: somebody listens there.
    (answer,) = flat.reached([(address, port, False)])
    assert answer == "no: timed out"


def test_network_none_is_none(flat: Flat) -> None:
    assert flat.inside("alone", "import os; print(os.listdir('/sys/class/net'))") == "['lo']\n"
    assert f"nbd-{flat.box.show('alone')['id']}" not in flat.box.traces()["networks"]
