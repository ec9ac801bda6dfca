"""Every refusal and failure as data: a code for machines, a sentence and a next step for people.

Raised where the cause is known, translated once per door: `status` is the HTTP status on the sockets, `exit_code` what nbctl
exits with (DESIGN.md, "Names a person meets"). A class is a *kind* of trouble; `code` says which trouble it is.
"""

from __future__ import annotations

from typing import ClassVar

MESSAGES = "nbd's messages: journalctl -u nbd, or the terminal of nbd dev"
"""Where they are, however nbd is run."""


class NbdError(Exception):
    """Somebody must be told. `retryable`: the same call may succeed later without anybody changing anything."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "", code: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(NbdError):
    """The person, or a file an admin wrote, said something nbd does not understand."""

    status, exit_code, default_code = 400, 2, "invalid_input"


class NotSignedIn(NbdError):
    status, exit_code, default_code = 401, 3, "not_signed_in"


class Refused(NbdError):
    """Understood, and not allowed: policy, quota, capacity."""

    status, exit_code, default_code = 403, 3, "refused"


class NoCapacity(Refused):
    """Nothing free that fits. `retryable` tells whether waiting can help."""

    status, default_code = 409, "no_capacity"


class NotFound(NbdError):
    """Not there, or not yours: the two look the same on purpose."""

    status, exit_code, default_code = 404, 4, "not_found"


class Conflict(NbdError):
    """Not in this state."""

    status, default_code = 409, "conflict"


class StartFailed(NbdError):
    """A notebook did not come up; `code` is one of the causes in `notebooks/failure.py`."""

    status, default_code = 502, "start_failed"


class HostUnfit(NbdError):
    """The box lacks something: an image, a CDI spec, disk space. `hint` is the command that mends it."""

    status, default_code = 503, "host_unfit"


class Unreachable(NbdError):
    """Podman, the driver, the daemon: it did not answer, or not in time."""

    status, exit_code, default_code = 503, 5, "unreachable"

    def __init__(self, message: str, *, hint: str = "", code: str = "", retryable: bool = True) -> None:
        super().__init__(message, hint=hint, code=code, retryable=retryable)


class Deadline(Unreachable):
    """It was asked and stayed silent. What it did meanwhile is unknown: look before acting."""

    status, default_code = 504, "deadline"


class StateUnusable(NbdError):
    """The state file was written by a newer nbd, or is not a state file."""

    default_code = "state_unusable"


class Damaged(NbdError):
    """Stored bytes are not what was stored. Never retried, never passed on."""

    default_code = "damaged"


KINDS: dict[int, type[NbdError]] = {400: InvalidInput, 401: NotSignedIn, 403: Refused, 404: NotFound, 409: Conflict, 503: Unreachable, 504: Deadline}
