"""Podman's service on its bad days: each sin becomes one clear error, the event loop never waits, and a service that recovers is used again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nbd import wire
from nbd.errors import Conflict, Deadline, HostUnfit, NbdError, NotFound, StartFailed, Unreachable
from nbd.host.containers import PodmanContainers
from nbd.host.networks import PodmanNetworks
from nbd.host.podman import AT_ONCE, Call, Podman, as_error
from nbd.host.processes import KernelProcesses
from nbd.notebooks.model import Notebook
from nbd.notebooks.spec import LABEL, ContainerSpec
from tests.fakes import podman_chaos as chaos
from tests.fakes.podman_chaos import Answer, ChaosPodman, answers, by_path, refuses, says

SECONDS = 0.3
LIST = Call("GET", "/containers/json")
INSTANCE = "/srv/nbd"
OURS = {f"{LABEL}instance": INSTANCE, f"{LABEL}id": "nabcdefghi", f"{LABEL}run": "1"}
SPEC = ContainerSpec(
    name="nbd-x", hostname="x", image="localhost/nbd/jupyter:latest", command=("jupyter",), env={}, uid=1000, gid=1000, work_dir="/", labels=OURS,
    binds=(), tmpfs={}, devices=(), memory_bytes=1, shm_bytes=1, cpus=1.0, pids=1, open_files=1, processes=1, network=None, log_path="/x",
)  # fmt: skip


@asynccontextmanager
async def podman_that(folder: Path, sin: Answer, seconds: float = SECONDS) -> AsyncIterator[tuple[ChaosPodman, Podman]]:
    async with ChaosPodman(folder / "podman.sock", sin) as service:
        podman = Podman(str(service.path), seconds)
        try:
            yield service, podman
        finally:
            await podman.close()


async def test_no_socket(short_path: Path) -> None:
    podman = Podman(str(short_path / "none.sock"), SECONDS)
    with pytest.raises(Unreachable) as caught:
        await podman.ask(LIST)
    assert "No such file" in caught.value.message
    assert "systemctl start podman.socket" in caught.value.hint
    assert caught.value.retryable
    assert "cannot be reached" in await podman.health()


async def test_a_socket_that_nobody_listens_on(short_path: Path) -> None:
    async with podman_that(short_path, answers([])) as (service, _):
        path = short_path / "dead.sock"
        service.path.rename(path)
    with pytest.raises(Unreachable, match="refused"):
        await Podman(str(path), SECONDS).ask(LIST)


SINS: dict[str, tuple[Answer, type[NbdError], str]] = {
    "silent": (chaos.silent, Deadline, "deadline"),
    "drips": (chaos.drips, Deadline, "deadline"),
    "hangs up": (chaos.hangs_up, Unreachable, "unreachable"),
    "half a body": (chaos.half_a_body, Unreachable, "unreachable"),
    "half a body, no length": (chaos.half_a_body_of_unknown_length, Unreachable, "unreachable"),
    "half a head": (chaos.half_a_head, Unreachable, "unreachable"),
    "not HTTP": (chaos.not_http, Unreachable, "unreachable"),
    "not JSON": (says(b"<html>502 Bad Gateway</html>", 502), Unreachable, "unreachable"),
    "not UTF-8": (says(b'{"message": "\xff\xfe"}', 500), Unreachable, "unreachable"),
    "an error without words": (answers({}, 500), HostUnfit, "podman_refused"),
    "an error that is a list": (answers([1], 500), HostUnfit, "podman_refused"),
    "an error that is nothing": (says(b"", 500), HostUnfit, "podman_refused"),
    "absent": (refuses(404, 'no container with name or ID "x" found: no such container'), NotFound, "not_found"),
    "taken": (refuses(409, "network name nbd-x already used: network already exists"), Conflict, "conflict"),
    "name in use": (
        refuses(500, 'creating container storage: the container name "x" is already in use by 78. You have to remove that container to be able'),
        Conflict,
        "conflict",
    ),
    "full": (refuses(500, "mkdir /var/lib/containers/storage/overlay/1a: no space left on device"), HostUnfit, "disk_full"),
    "no CDI device": (refuses(500, "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=GPU-1"), HostUnfit, "cdi_missing"),
    "no CDI device, of a later Podman": (
        refuses(500, "setting up CDI devices: failed to inject devices: unresolvable CDI devices nvidia.com/gpu=GPU-1"),
        HostUnfit,
        "cdi_missing",
    ),
    "no subnet": (refuses(500, "could not find free subnet from subnet pools"), HostUnfit, "podman_refused"),
}


@pytest.mark.parametrize(("sin", "kind", "code"), SINS.values(), ids=list(SINS))
async def test_each_sin_is_one_clear_error_and_the_next_call_works(short_path: Path, sin: Answer, kind: type[NbdError], code: str) -> None:
    async with podman_that(short_path, sin) as (service, podman):
        with pytest.raises(NbdError) as caught:
            await podman.ask(LIST)
        assert (type(caught.value), caught.value.code) == (kind, code)
        assert caught.value.message
        service.sin = answers([{"Id": "x"}])
        assert await podman.ask(LIST) == [{"Id": "x"}]


def test_a_card_that_podman_does_not_find_comes_with_the_command_that_mends_it() -> None:
    assert "nvidia-ctk cdi generate" in as_error(500, "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=GPU-1").hint


async def test_the_loop_moves_while_podman_is_silent(short_path: Path) -> None:
    """The far end serves on this very loop: that it hears all of these at once shows that nobody holds the loop."""
    async with podman_that(short_path, chaos.silent, seconds=2.0) as (service, podman):
        waiting = [asyncio.create_task(podman.ask(LIST)) for _ in range(AT_ONCE)]
        async with asyncio.timeout(10):
            while len(service.asked) < AT_ONCE:
                await asyncio.sleep(0.001)
        assert not any(task.done() for task in waiting)
        assert {type(result) for result in await asyncio.gather(*waiting, return_exceptions=True)} == {Deadline}
        service.sin = answers([])
        assert await podman.ask(LIST) == []


async def test_a_cancelled_call_does_not_answer_the_next_one(short_path: Path) -> None:
    """Its answer comes late, on its own connection: nobody else may be given it."""
    release = asyncio.Event()

    async def late(asked: chaos.Asked, writer: asyncio.StreamWriter) -> bool:
        if "slow" in asked.path:
            await release.wait()
        return await answers([asked.path.rpartition("/")[2]])(asked, writer)

    async with podman_that(short_path, late, seconds=10.0) as (service, podman):
        slow = [asyncio.create_task(podman.ask(Call("GET", "/slow"))) for _ in range(5)]
        while len(service.asked) < 5:
            await asyncio.sleep(0.001)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        release.set()
        for number in range(20):
            assert await podman.ask(Call("GET", f"/{number}")) == [str(number)]


async def test_a_restarted_service_is_found_again(short_path: Path) -> None:
    """Idle connections of the old one are dead; none of them may cost a call."""
    async with podman_that(short_path, answers([])) as (service, podman):
        await asyncio.gather(*(podman.ask(LIST) for _ in range(4)))
        await service.close()
        with pytest.raises(Unreachable):
            await podman.ask(LIST)
        await service.open()
        for _ in range(8):
            assert await podman.ask(LIST) == []


async def test_one_connection_serves_many_calls(short_path: Path) -> None:
    async with podman_that(short_path, answers([])) as (service, podman):
        for _ in range(20):
            await podman.ask(LIST)
        assert (len(service.asked), service.connections) == (20, 1)


async def test_health_is_a_sentence(short_path: Path) -> None:
    async with podman_that(short_path, answers([])) as (service, podman):
        assert await podman.health() == "ok"
        service.sin = refuses(500, "database is locked")
        assert await podman.health() == "Podman refused: database is locked"


def containers_of(podman: Podman) -> PodmanContainers:
    return PodmanContainers(podman, KernelProcesses(), INSTANCE)


@pytest.mark.parametrize("status", [404, 500])
async def test_an_image_that_is_missing_at_creation(short_path: Path, status: int) -> None:
    async with podman_that(short_path, refuses(status, "localhost/nbd/jupyter:latest: image not known")) as (_, podman):
        with pytest.raises(StartFailed) as caught:
            await containers_of(podman).create(SPEC)
        assert caught.value.code == "image_missing"


async def test_another_404_at_creation_is_not_called_a_missing_image(short_path: Path) -> None:
    async with podman_that(short_path, refuses(404, "unable to find network with name or ID nbd-x: network not found")) as (_, podman):
        with pytest.raises(NotFound):
            await containers_of(podman).create(SPEC)


async def test_an_editor_that_the_image_does_not_have(short_path: Path) -> None:
    words = 'crun: executable file `jupyter` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command'
    async with podman_that(short_path, refuses(500, words)) as (_, podman):
        with pytest.raises(StartFailed) as caught:
            await containers_of(podman).start("x")
        assert caught.value.code == "editor_missing"


def item(**changed: object) -> dict[str, object]:
    return {"Id": "a" * 64, "State": "exited", "ExitCode": 3, "Pid": 0, "StartedAt": 1700000000, "Labels": OURS, **changed}


UNREADABLE: dict[str, object] = {
    "nothing at all": None,
    "an object": {},
    "a word": "all is well",
    "a list of words": ["a", "b"],
    "no id": [{"Labels": OURS, "State": "running", "Pid": 1}],
    "a pid that is no number": [item(Pid="many")],
    "a pid that is a list": [item(Pid=[1])],
    "labels that are a list": [item(Labels=["a"])],
    "labels of numbers": [item(Labels={**OURS, f"{LABEL}run": 7})],
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=list(UNREADABLE))
async def test_a_list_that_cannot_be_read_is_no_list(short_path: Path, answer: object) -> None:
    """Nothing may be concluded from it: an empty list would say that every notebook is gone."""
    async with podman_that(short_path, answers(answer)) as (_, podman):
        with pytest.raises(Unreachable):
            await containers_of(podman).seen()


FACTS = {"Id": "a" * 64, "Config": {"Labels": OURS}, "State": {"Status": "exited", "Pid": 0, "ExitCode": 3}}
Question = Callable[[PodmanContainers], Awaitable[object]]
ASKING: dict[str, Question] = {"look": lambda c: c.look("x"), "process": lambda c: c.process("x"), "remove": lambda c: c.remove("x")}


@pytest.mark.parametrize("ask", ASKING.values(), ids=list(ASKING))
@pytest.mark.parametrize("facts", [None, [], "x", {**FACTS, "Id": None, "State": []}, {"Config": {"Labels": OURS}}, {**FACTS, "Config": 3}])
async def test_facts_that_cannot_be_read(short_path: Path, ask: Question, facts: object) -> None:
    async with podman_that(short_path, answers(facts)) as (service, podman):
        try:
            assert await ask(containers_of(podman)) is None
        except Unreachable:
            return
        assert all(asked.method == "GET" for asked in service.asked), "something was done on the word of nonsense"


@pytest.mark.parametrize("answer", [None, [], {"id": "x"}])
async def test_a_creation_without_an_id(short_path: Path, answer: object) -> None:
    async with podman_that(short_path, answers(answer, 201)) as (_, podman):
        with pytest.raises(Unreachable):
            await containers_of(podman).create(SPEC)


async def test_an_empty_box_and_a_full_one(short_path: Path) -> None:
    row = Notebook("nabcdefghi", "main", "ada", "p", "jupyterlab", 5.0)
    many: list[dict[str, Any]] = [item(Id=f"{n:064x}", Labels={**OURS, f"{LABEL}notebook": wire.encode(row)}) for n in range(5000)]
    async with podman_that(short_path, answers([]), seconds=30.0) as (service, podman):
        assert await containers_of(podman).seen() == []
        service.sin = answers(many)
        seen = await containers_of(podman).seen()
        assert len(seen) == 5000
        assert all((one.alive, one.exit_code, one.label) == (False, 3, row) for one in seen)


async def test_what_is_not_ours_is_not_seen_whatever_the_filter_did(short_path: Path) -> None:
    async with podman_that(short_path, answers([item(), item(Id="b" * 64, Labels={**OURS, f"{LABEL}instance": "/other"}), item(Labels=None)])) as (
        service,
        podman,
    ):
        assert [one.container for one in await containers_of(podman).seen()] == ["a" * 64]
        assert "filters=" in service.asked[0].path


async def test_odd_labels_of_ours_are_seen_without_their_row(short_path: Path) -> None:
    """Somebody made a container with our label by hand, or an older nbd wrote another form: it is there, and nothing is believed of it."""
    odd = {**OURS, f"{LABEL}run": "many", f"{LABEL}notebook": '{"id": 3}', f"{LABEL}leases": "{"}
    async with podman_that(short_path, answers([item(Labels=odd)])) as (_, podman):
        (seen,) = await containers_of(podman).seen()
        assert (seen.notebook, seen.run, seen.label) == ("nabcdefghi", 0, None)
        assert await containers_of(podman).leases() == []


async def test_nothing_of_others_is_removed(short_path: Path) -> None:
    theirs = {**FACTS, "Config": {"Labels": {**OURS, f"{LABEL}instance": "/other"}}}
    async with podman_that(short_path, answers(theirs)) as (service, podman):
        await containers_of(podman).remove("x")
        assert [asked.method for asked in service.asked] == ["GET"]


async def test_a_kill_that_comes_too_late_is_no_error(short_path: Path) -> None:
    sin = by_path({"/kill": refuses(500, "can only kill running containers. abc is in state exited: container state improper")}, answers(FACTS))
    async with podman_that(short_path, sin) as (_, podman):
        await containers_of(podman).kill("x", "SIGTERM")


async def test_networks_that_cannot_be_read(short_path: Path) -> None:
    async with podman_that(short_path, answers([{"labels": {f"{LABEL}id": "nabcdefghi"}}, {"labels": None}, {}])) as (service, podman):
        networks = PodmanNetworks(podman, INSTANCE)
        assert await networks.existing() == {"nabcdefghi"}
        service.sin = answers({"message": "?"})
        with pytest.raises(Unreachable):
            await networks.existing()
        service.sin = refuses(404, "unable to find network with name or ID nbd-x: network not found")
        await networks.remove("nabcdefghi")


async def test_a_request_is_json_to_the_libpod_api(short_path: Path) -> None:
    async with podman_that(short_path, answers({"Id": "x"}, 201)) as (service, podman):
        assert await containers_of(podman).create(SPEC) == "x"
        (asked,) = service.asked
        assert (asked.method, asked.path) == ("POST", "/v4.3.0/libpod/containers/create")
        assert json.loads(asked.body)["name"] == "nbd-x"
