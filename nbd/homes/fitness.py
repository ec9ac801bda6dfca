"""May a notebook start in this home? Pure. A full home may: the person must get in to make room."""

from __future__ import annotations

from ..errors import HostUnfit
from .model import HomeFacts, HomeReady, HomeRequest


def fit(request: HomeRequest, facts: HomeFacts) -> HomeReady:
    """Raises HostUnfit(home_unfit) with the command that mends it."""
    if not facts.exists:
        hint = f"make it: install -d -m 0700 -o {request.person} {request.path}"
        raise HostUnfit(f"the home {request.path} of {request.person} does not exist", code="home_unfit", hint=hint)
    if not facts.is_folder:
        message = f"{request.path}, the home of {request.person}, is not a folder (a link is not followed)"
        raise HostUnfit(message, code="home_unfit", hint="put the folder itself there, or mount it")
    if facts.owner_uid != request.uid:
        message = f"the home {request.path} belongs to uid {facts.owner_uid}, not to {request.person} (uid {request.uid})"
        raise HostUnfit(message, code="home_unfit", hint=f"an admin can look: ls -ld {request.path}")
    return HomeReady(request.path, facts.free_bytes, facts.total_bytes)
