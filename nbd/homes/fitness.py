"""May a notebook start in this home, and has anybody worked in it yet? Pure. A full home may be started in: the person must get in to make room."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import HostUnfit
from .model import HomeFacts, HomeReady, HomeRequest, Kind

TRACES = frozenset({
    b".bash_history", b".zsh_history", b".python_history", b".lesshst", b".viminfo", b".wget-hsts", b".sudo_as_admin_successful",
    b".Xauthority", b".ICEauthority", b".hushlogin", b".ssh", b"lost+found",
})  # fmt: skip
"""What a log-in, an admin or a file system leaves in a home in which nobody has worked. Bringing a home back leaves them as they are."""


@dataclass(frozen=True, slots=True)
class Top:
    """One name at the top of a home."""

    name: bytes
    kind: Kind
    own: bool = True
    """The person's; else an admin's, or the file system's."""
    ignored: bool = False
    """Left out of snapshots: it is nothing that could be lost."""
    skeleton: bool = False
    """Just as every new account has it (/etc/skel)."""
    empty: bool = False
    """A folder with nothing in it: desktops make some at a log-in."""


def fit(request: HomeRequest, facts: HomeFacts, *, was_mounted: bool = False) -> HomeReady:
    """`was_mounted`: a file system of its own began at it when it was last used here. Raises HostUnfit(home_unfit) with the command that mends it."""
    if not facts.exists:
        hint = f"make it: install -d -m 0700 -o {request.person} {request.path}; what its snapshots have comes back at the next start"
        raise HostUnfit(f"the home {request.path} of {request.person} does not exist", code="home_unfit", hint=hint)
    if not facts.is_folder:
        message = f"{request.path}, the home of {request.person}, is not a folder (a link is not followed)"
        raise HostUnfit(message, code="home_unfit", hint="put the folder itself there, or mount it")
    if facts.owner_uid != request.uid:
        message = f"the home {request.path} belongs to uid {facts.owner_uid}, not to {request.person} (uid {request.uid})"
        raise HostUnfit(message, code="home_unfit", hint=f"an admin can look: ls -ld {request.path}")
    if was_mounted and not facts.mounted:
        message = f"the home {request.path} was a mount of its own, and is none now"
        raise HostUnfit(message, code="home_unfit", hint=f"an admin can mount it: mount {request.path}")
    return HomeReady(request.path, facts.free_bytes, facts.total_bytes)


def worked_in(tops: Iterable[Top]) -> str:
    """The first sign that somebody has worked in this home, in words; empty for one as a new account has it."""
    for top in sorted(tops, key=lambda top: top.name):
        if not top.own or top.ignored or top.skeleton or top.empty or top.name in TRACES:
            continue
        return f"{top.name.decode('utf-8', 'backslashreplace')} is in it"
    return ""
