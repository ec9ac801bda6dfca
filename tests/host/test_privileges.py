"""What sync may: read every home, write nothing but its own. Seen in what the kernel says of a real process, and tried."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from nbd.errors import HostUnfit, NbdError
from nbd.host import privileges
from nbd.host.privileges import READ_ANY, Rights, hand_over, parse, sentence
from tests.homes.test_repository import fill
from tests.homes.world import look
from tests.system.real_box import Person, account, until
from tests.system.syncbox import QUIET, SyncBox, occupant, outcome_of, refused, sync_box

STATUS = """Name:\tnbd
Uid:\t0\t{uid}\t0\t0
CapInh:\t{inheritable:016x}
CapPrm:\t{permitted:016x}
CapEff:\t{effective:016x}
CapBnd:\t{bounding:016x}
CapAmb:\t{ambient:016x}
NoNewPrivs:\t{nnp}
"""
ALL = (1 << 41) - 1
WRITE_ANY = 1 << 1


def status(uid: int = 0, permitted: int = 0, inheritable: int = 0, ambient: int = 0, nnp: int = 1) -> Rights:
    sets = {"permitted": permitted, "effective": permitted, "inheritable": inheritable, "ambient": ambient, "bounding": ALL}
    return parse(STATUS.format(uid=uid, nnp=nnp, **sets))


@pytest.mark.parametrize(
    ("rights", "too_much", "said"),
    [
        (status(99, READ_ANY), False, "sync runs as uid 99 with the right to read every home, and no other"),
        (status(99), False, "sync runs as uid 99 with no special right"),
        (status(0, ALL), True, "sync runs as uid 0 with more rights than it needs"),
        (status(0, READ_ANY | WRITE_ANY), True, "more rights"),
        (status(0, READ_ANY, inheritable=WRITE_ANY), True, "more rights"),
        (status(0, READ_ANY, ambient=ALL), True, "more rights"),
        (status(99, READ_ANY, nnp=0), True, "more rights"),
    ],
)
def test_what_is_too_much(rights: Rights, *, too_much: bool, said: str) -> None:
    assert rights.too_much is too_much
    assert said in sentence(rights)


def rights_of(pid: int) -> list[Rights]:
    """Of each thread."""
    return [parse((task / "status").read_text()) for task in Path(f"/proc/{pid}/task").iterdir()]


@pytest.fixture
def keeper() -> Iterator[Person]:
    """As the account that the package makes for sync."""
    with account("nbdtest-syn") as person:
        yield person


@pytest.fixture
def ada() -> Iterator[Person]:
    with account("nbdtest-pia") as person:
        person.home.chmod(0o700)
        yield person


def fill_home(person: Person) -> None:
    fill(person.home / "work")
    for path in (person.home, *person.home.rglob("*")):
        os.lchown(path, person.uid, person.gid)


def only_reading(person: Person) -> tuple[str, ...]:
    """As the unit starts it: this account, with that one capability."""
    one = "-all,+dac_read_search"
    return (
        "setpriv", "--reuid", str(person.uid), "--regid", str(person.gid), "--clear-groups",
        "--inh-caps", one, "--ambient-caps", one, "--bounding-set", one, "--no-new-privs",
    )  # fmt: skip


def given(folder: Path, person: Person) -> Path:
    """The folders that the unit makes for sync: its own, in one that is root's alone."""
    folder.mkdir(mode=0o755)
    for name, mode in (("run", 0o755), ("state", 0o700), ("run/sync", 0o700), ("state/sync", 0o700)):
        (folder / name).mkdir(mode=mode)
    for path in (folder / "run/sync", folder / "state/sync"):
        os.chown(path, person.uid, person.gid)
    return folder


@pytest.mark.real
async def test_root_without_an_account_for_it_keeps_one_right(short_path: Path, ada: Person) -> None:
    fill_home(ada)
    with sync_box(short_path, QUIET + 'user = "nbdtest-none"\n') as box:
        await box.flush(occupant(ada))
        assert box.process
        found = rights_of(box.process.pid)
        assert len(found) > 1
        assert set(found) == {Rights(0, READ_ANY, READ_ANY, 0, 0, READ_ANY, gains_nothing=True)}
        assert "sync runs as uid 0 with the right to read every home, and no other" in box.output


@pytest.mark.real
async def test_root_becomes_the_account_there_is(short_path: Path, ada: Person, keeper: Person) -> None:
    """What was there before the account was made becomes its own."""
    fill_home(ada)
    who = occupant(ada)
    with sync_box(short_path, QUIET + 'user = "nbdtest-none"\n') as box:
        await box.flush(who, name="before")
        box.end()
        box.settings = QUIET + f'user = "{keeper.name}"\n'
        pid = box.up()
        assert set(rights_of(pid)) == {Rights(keeper.uid, READ_ANY, READ_ANY, 0, 0, READ_ANY, gains_nothing=True)}
        process = psutil.Process(pid)
        assert set(process.uids()) == {keeper.uid}
        assert set(process.gids()) == {keeper.gid}
        for folder in (box.places.sync_state, box.places.sync_run):
            assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {keeper.uid}
        (ada.home / "later").write_text("later")
        await box.flush(who, name="after")
        assert [one.name for one in await box.snapshots(who)] == ["after", "before"]


@pytest.mark.real
async def test_a_store_elsewhere_is_made_for_it_or_must_be_its_own(short_path: Path, ada: Person, keeper: Person) -> None:
    fill_home(ada)
    who, mine, roots = occupant(ada), short_path / "mine", short_path / "roots"
    with sync_box(short_path, f'{QUIET}user = "{keeper.name}"\nspool = "0B"\nstore = "{mine}"\n') as box:
        await box.flush(who)
        assert {path.lstat().st_uid for path in (mine, *mine.rglob("*"))} == {keeper.uid}
        box.end()
        roots.mkdir(mode=0o755)
        box.settings = box.settings.replace(str(mine), str(roots))
        (box.places.sync_state / "seen.json").unlink()
        box.up()
        outcome = await outcome_of(box.flush(who))
        assert isinstance(outcome, NbdError)
        assert (outcome.code, outcome.hint) == ("store_unfit", f"it must belong to the account of nbd sync: chown -R {keeper.uid} {roots}")
        os.chown(roots, keeper.uid, keeper.gid)
        assert (await box.flush(who)).trouble == ""


@pytest.mark.real
async def test_core_and_sync_are_two_accounts(short_path: Path, ada: Person, keeper: Person) -> None:
    """The unit's way: snapshot of a closed home, restore as the person, verify; nobody but core and sync itself reaches its sockets."""
    fill_home(ada)
    who, before = occupant(ada), look(ada.home / "work")
    given(short_path / "d", keeper)
    with sync_box(short_path, wrap=only_reading(keeper)) as box:
        assert box.process
        assert set(rights_of(box.process.pid)) == {Rights(keeper.uid, READ_ANY, READ_ANY, 0, 0, READ_ANY, gains_nothing=True)}
        assert (await box.flush(who)).trouble == ""
        done = await box.restore(who, ada.home / "back", path="work")
        assert (done.damaged, done.done) == ((), True)
        assert look(ada.home / "back/work") == before
        box.independent(who, (await box.snapshots(who))[0].id, short_path / "independent")
        assert set(look(short_path / "independent/work")) == set(before)
        assert (await box.core.ask("verify", {"person": ada.name, "uid": ada.uid, "path": str(ada.home)}))["good"]
        for socket in (box.places.sync_socket, box.places.restore_socket):
            assert socket.stat().st_uid == keeper.uid
            assert tried(ada, connecting(socket)) == errno.EACCES
            assert tried(keeper, connecting(socket)) == 0
        # And should they be open by mistake: who asks is asked for by the kernel's word.
        for path in (box.places.sync_run, box.places.sync_socket, box.places.restore_socket):
            path.chmod(0o777)
        question = "POST /v1/homes/status HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}"
        assert "403" in answered(ada, box.places.sync_socket, question)
        assert answered(ada, box.places.restore_socket, "{}\\n") == ""
        assert "400" in answered(keeper, box.places.sync_socket, question)


def tried(person: Person, code: str, *wrap: str) -> int:
    """The errno with which a process of this person's fails at something; 0: it did not."""
    script = f"import os, socket, sys\ntry:\n{textwrap.indent(code, '    ')}\nexcept OSError as error:\n    sys.exit(error.errno)\n"
    identity: dict[str, object] = {} if wrap else {"user": person.uid, "group": person.gid, "extra_groups": []}
    return subprocess.run([*wrap, "/usr/bin/python3", "-I", "-c", script], cwd="/", check=False, **identity).returncode  # type: ignore[call-overload, no-any-return]


def answered(person: Person, path: Path, question: str) -> str:
    """The beginning of what one of this person's processes is told; empty where it is shown the door."""
    script = f"import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({str(path)!r})\n"
    script += f"try:\n    s.sendall(b'{question}')\n    print(s.recv(100))\nexcept ConnectionError:\n    print(b'')\n"
    identity: dict[str, object] = {"user": person.uid, "group": person.gid, "extra_groups": []}
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", script], cwd="/", check=True, capture_output=True, text=True, **identity)  # type: ignore[call-overload]
    return str(ast.literal_eval(done.stdout).decode())


def connecting(path: Path) -> str:
    return f"socket.socket(socket.AF_UNIX).connect({str(path)!r})"


WRITES: Sequence[Callable[[Path], str]] = (
    lambda home: f"os.open({str(home / 'new')!r}, os.O_CREAT | os.O_WRONLY)",
    lambda home: f"os.open({str(home / 'paper')!r}, os.O_WRONLY)",
    lambda home: f"os.unlink({str(home / 'paper')!r})",
    lambda home: f"os.rename({str(home / 'paper')!r}, {str(home / 'other')!r})",
    lambda home: f"os.mkdir({str(home / 'folder')!r})",
    lambda home: f"os.symlink('/etc/passwd', {str(home / 'link')!r})",
    lambda home: f"os.truncate({str(home / 'paper')!r}, 0)",
    lambda home: f"os.chmod({str(home / 'paper')!r}, 0o777)",
    lambda home: f"os.chown({str(home / 'paper')!r}, os.getuid(), -1)",
    lambda home: f"os.utime({str(home / 'paper')!r}, (1, 1))",
    lambda home: f"os.setxattr({str(home / 'paper')!r}, 'user.x', b'x')",
    lambda home: "os.setuid(0)",
    lambda home: "open('/proc/1/mem', 'rb')",
)


@pytest.mark.real
def test_with_its_rights_nothing_in_a_home_can_be_changed(ada: Person, keeper: Person) -> None:
    """Whoever takes sync over has these rights and no more."""
    (ada.home / "paper").write_text("hers")
    (ada.home / "paper").chmod(0o600)
    os.chown(ada.home / "paper", ada.uid, ada.gid)
    reading = f"assert open({str(ada.home / 'paper')!r}).read() == 'hers'"
    assert tried(keeper, reading, *only_reading(keeper)) == 0
    for write in WRITES:
        assert tried(keeper, write(ada.home), *only_reading(keeper)) in (errno.EACCES, errno.EPERM), write(ada.home)


@pytest.mark.real
async def test_a_person_keeps_what_is_theirs(short_path: Path, ada: Person, keeper: Person) -> None:
    """Started by somebody who is not root: their own home is kept, another's is refused in a sentence."""
    fill_home(ada)
    (ada.home / "d").mkdir()
    os.chown(ada.home / "d", ada.uid, ada.gid)
    box = SyncBox(ada.home / "d", wrap=("setpriv", "--reuid", str(ada.uid), "--regid", str(ada.gid), "--clear-groups"))
    try:
        box.up()
        assert "with no special right: it keeps what that account may read" in box.output
        assert (await box.flush(occupant(ada), name="mine")).trouble == ""
        keeper.home.chmod(0o700)
        with refused("home_missing"):
            await box.flush(occupant(keeper))
    finally:
        box.kill()


@pytest.mark.real
def test_it_still_ends_with_who_started_it(short_path: Path, keeper: Person) -> None:
    """A change of account makes the kernel forget to tell it."""
    box = SyncBox(short_path / "d", QUIET + f'user = "{keeper.name}"\n')
    parent = """
        import asyncio, sys
        from nbd.host.children import Program, spawn
        async def main():
            child = await spawn(Program("sync", tuple(sys.argv[1:])))
            await child.wait()
        asyncio.run(main())
    """
    pid = box.up(sys.executable, "-c", textwrap.dedent(parent))
    (sync,) = psutil.Process(pid).children()
    try:
        until(lambda: set(sync.uids()) == {keeper.uid})
        box.kill()
        sync.wait(15)
    finally:
        if sync.is_running():
            sync.kill()


@pytest.mark.real
def test_handing_over_follows_no_link_and_takes_nothing_with_two_names(tmp_path: Path) -> None:
    """The folder's last owner may have put there what they like."""
    folder, outside = tmp_path / "own", tmp_path / "outside"
    (folder / "a/b").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "a/file", outside / "secret", outside / "shadow"):
        path.write_text("x")
    (folder / "a/link").symlink_to(outside)
    (folder / "a/b/shadow").hardlink_to(outside / "shadow")
    os.mkfifo(folder / "a/pipe")
    hand_over(folder, 65011, 65012)
    assert {path.stat().st_uid for path in (folder, folder / "a", folder / "a/b", folder / "a/file")} == {65011}
    assert {path.lstat().st_uid for path in (outside, outside / "secret", outside / "shadow", folder / "a/pipe", folder / "a/link")} == {0}


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HostUnfit, match="cannot be made ready for sync") as said:
        privileges.make(tmp_path / "file/sync", None)
    assert isinstance(said.value, NbdError)
    assert said.value.hint
