"""What `nbd sync` may do: look into every home, and nothing else that an ordinary account may not.

Its first act, before it has a thread or reads a byte of anybody's, is to give up the rest. Where systemd starts it there is no rest: the unit
names its account and the one capability (systemd/nbd-sync.service). Started as root it becomes its account, where the box has one; else it stays
uid 0 without root's powers. Started by a person it has nothing to give up, and keeps homes that this person may read.

Python has no door to capset(2); the layouts and numbers are the kernel's ABI, the same on every machine.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostUnfit

READ_ANY = 1 << 2
"""CAP_DAC_READ_SEARCH of capabilities(7), as a mask."""
VERSION_3 = 0x20080522
PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 2, 4, 8, 24
PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 28, 38
NOROOT_LOCKED = 0b11
"""uid 0 means nothing any more when a program is executed, for good."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    """One half (32 capabilities) of the three sets that capset changes."""

    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True)
class Rights:
    """Of a process. Each set of capabilities is a mask."""

    uid: int
    permitted: int
    effective: int
    inheritable: int
    ambient: int
    bounding: int
    gains_nothing: bool
    """no_new_privs: whatever it executes has no more."""

    @property
    def reads_all(self) -> bool:
        return bool(self.effective & READ_ANY)

    @property
    def too_much(self) -> bool:
        """Whether it holds, or can come to hold, more than it should."""
        held = self.permitted | self.effective | self.inheritable | self.ambient
        return bool(held & ~READ_ANY) or not self.gains_nothing


def parse(status: str) -> Rights:
    """From the text of /proc/PID/status."""
    rows: Mapping[str, str] = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    permitted, effective, inheritable, ambient, bounding = (int(rows[f"Cap{name}"], 16) for name in ("Prm", "Eff", "Inh", "Amb", "Bnd"))
    return Rights(int(rows["Uid"].split()[1]), permitted, effective, inheritable, ambient, bounding, rows["NoNewPrivs"].strip() == "1")


def sentence(rights: Rights) -> str:
    who = f"sync runs as uid {rights.uid}"
    if rights.too_much:
        return f"{who} with more rights than it needs"
    if rights.reads_all:
        return f"{who} with the right to read every home, and no other"
    return f"{who} with no special right: it keeps what that account may read"


def held() -> Rights:
    return parse(Path("/proc/self/status").read_text())


def settle(account: str, own: Sequence[Path]) -> None:
    """Gives up everything but the right to read. `own`: the folders that are sync's; made, and given to it, where root starts it. Raises HostUnfit.
    Only for a process that has no thread yet: each thread has rights of its own."""
    signal = death_signal()
    ids = ids_of(account) if os.geteuid() == 0 else None
    for folder in own:
        make(folder, ids[:2] if ids else None)
    if ids:
        become(*ids)
    keep_reading()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # It holds the master key: no core dump, and nobody else of its uid looks into its memory.
    prctl(PR_SET_DUMPABLE, 0)
    # A change of account clears it, and `nbd dev` counts on it.
    prctl(PR_SET_PDEATHSIG, signal)
    rights = held()
    if rights.too_much:
        raise HostUnfit(sentence(rights), hint="please report it: grep Cap /proc/self/status", code="too_many_rights")


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """From root to this account, for good; capabilities stay until keep_reading()."""
    if held().permitted & 1 << 8:  # CAP_SETPCAP; without it no_new_privs alone has to do
        for number in range(last_capability() + 1):
            if 1 << number != READ_ANY:
                prctl(PR_CAPBSET_DROP, number)
        prctl(PR_SET_SECUREBITS, NOROOT_LOCKED)
    prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def ids_of(account: str) -> tuple[int, int, list[int]]:
    """uid, gid and all groups; root's own, without further groups, where there is no such account."""
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return 0, 0, []
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(account, entry.pw_gid)


def keep_reading() -> None:
    """Permitted and effective: to read, where that was held; inheritable, and with it ambient: nothing."""
    kept = held().permitted & READ_ANY
    sets = (_Sets * 2)(_Sets(kept, kept, 0), _Sets(0, 0, 0))
    if _libc.capset(ctypes.byref(_Head(VERSION_3, 0)), sets) != 0:
        raise refused("capset")


def make(folder: Path, ids: tuple[int, int] | None) -> None:
    """Where it is not. `ids`: whose it then is. Raises HostUnfit."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if ids and folder.stat().st_uid != ids[0]:
            hand_over(folder, *ids)
    except OSError as error:
        hint = "is the disk full or read-only, or the folder another's?"
        raise HostUnfit(f"{folder} cannot be made ready for sync: {error.strerror}", hint=hint, code="bad_dir") from None


def hand_over(folder: Path, uid: int, gid: int) -> None:
    """It and all in it become the account's. The folder itself comes last: its owner says that it is done."""
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*files, *folders):
            give(name, descriptor, (uid, gid))
    os.chown(folder, uid, gid, follow_symlinks=False)


def give(name: str, folder: int, ids: tuple[int, int]) -> None:
    """By a descriptor, and never what has a second name somewhere: its account could have made that of another's file."""
    held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(held)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            os.chown(f"/proc/self/fd/{held}", *ids)
    finally:
        os.close(held)


def last_capability() -> int:
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def death_signal() -> int:
    """The signal that this process gets when its parent ends; 0 for none."""
    signal = ctypes.c_int()
    if _libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0) != 0:
        raise refused("prctl")
    return signal.value


def prctl(what: int, value: int) -> None:
    if _libc.prctl(what, value, 0, 0, 0) != 0:
        raise refused(f"prctl {what}")


def refused(call: str) -> HostUnfit:
    reason = os.strerror(ctypes.get_errno())
    return HostUnfit(f"sync cannot give up its rights: {call}: {reason}", hint="start it as its own account", code="too_many_rights")
