"""What a store says when it does not do what was asked, in the port's words. Pure.

obstore tells most of it in its text alone: the status, and the code in the body, which S3, Azure and GCS (its XML API) all send.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import Conflict, HostUnfit, NbdError, NotFound, Unreachable

NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"}
DENIED = {
    "AccessDenied", "AccountIsDisabled", "AllAccessDisabled", "AuthenticationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch",
    "AuthorizationSourceIPMismatch", "InsufficientAccountPermissions", "InvalidAccessKeyId", "InvalidAuthenticationInfo", "InvalidSecurity",
    "InvalidToken", "NoAuthenticationInformation", "NotSignedUp", "SignatureDoesNotMatch", "UserProjectAccountProblem",
}  # fmt: skip
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
SKEWED = {"RequestTimeTooSkewed"}
SLOW = {"SlowDown", "ServerBusy", "TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "RequestBodyTooLarge", "InsufficientStorage", "AccountStorageLimitExceeded"}
BUSY = {"ConditionalRequestConflict", "OperationAborted"}
"""Two wanted the same object in the same moment, and nobody knows who wins: to be asked again."""
CUT = {"BadDigest", "IncompleteBody", "InvalidDigest", "Md5Mismatch", "RequestTimeout", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
"""The bytes did not arrive as they were sent."""
PAST_THE_END = {"InvalidRange"}

CAUSE = r'(?<=message: )"[^"]{1,80}"|failed to lookup address information: [\w ]+'
CAUSES = {
    r"\bTimedOut\b|kind: Timeout": "it does not answer in time",
    r"\bIncompleteMessage\b|\bUnexpectedEof\b": "it breaks off in the middle of its answer",
    r"\bParse\(": "what answers there is no such store",
}
"""What obstore says only in the names of its own things."""
ASKED = r"Error performing (\w+) (\w+://[^/\s?]{1,60})"
LONGEST = 120
CERTIFICATE = r"InvalidCertificate\(\s*(\w+)"


@dataclass(frozen=True, slots=True)
class Said:
    """`kind` is the name of obstore's exception."""

    kind: str
    text: str

    @property
    def status(self) -> int:
        found = re.search(r"status code: (\d{3})", self.text)
        return int(found[1]) if found else 0

    @property
    def code(self) -> str:
        found = re.search(r"<Code>\s*(\w+)\s*</Code>", self.text)
        return found[1] if found else ""

    @property
    def past_the_end(self) -> bool:
        return self.status == 416 or self.code in PAST_THE_END or "Wanted range starting at" in self.text

    @property
    def line(self) -> str:
        """For people, the cause first: short, never a signature, and the same words for the same trouble."""
        asked = re.search(ASKED, self.text)
        return self._why[:LONGEST] + (f" ({asked[1]} {asked[2]})" if asked else "")

    @property
    def _why(self) -> str:
        answered = re.search(r"status code: (\d{3}[\w -]{0,40})", self.text)
        if answered:
            return f"{self.code}, {answered[1].strip()}".removeprefix(", ")
        if causes := re.findall(CAUSE, self.text):
            return str(causes[-1]).strip('"')
        named = (words for pattern, words in CAUSES.items() if re.search(pattern, self.text))
        first = re.sub(r"\?\S*| in [\d.]+\S*s\b", "", self.text.partition("\n")[0])
        return next(named, first.rpartition(" - ")[2] or first)


def trouble(said: Said, store: str, key: str) -> NbdError:
    """`store` is its URL."""
    if said.code in BUSY:
        return Unreachable(f"another writes {key} in the store {store} just now", code="store_busy")
    return misplaced(said, store, key) or full(said, store) or denied(said, store) or refused(said, store) or away(said, store)


def misplaced(said: Said, store: str, key: str) -> NbdError | None:
    if said.code in NO_BUCKET or "bucket does not exist" in said.text:
        hint = "an admin makes it; nbd does not, for its credentials need no such right"
        return HostUnfit(f"the bucket of the store {store} does not exist", code="store_unfit", hint=hint)
    if said.kind == "AlreadyExistsError" or said.kind == "PreconditionError":
        return Conflict(f"{key} was changed by another", code="store_changed")
    if said.kind in ("NotFoundError", "FileNotFoundError") or said.status == 404:
        return NotFound(f"{key} is not in the store {store}", code="store_missing")
    return None


def denied(said: Said, store: str) -> NbdError | None:
    if said.code in SKEWED:
        hint = "timedatectl says whether the clock of this box is kept right"
        return HostUnfit(f"the store {store} denies access: the clock of this box is wrong", code="store_denied", hint=hint)
    if said.code in EXPIRED or "invalid_grant" in said.text or (said.status in (401, 403) and "expired" in said.text.lower()):
        hint = "put new ones into the file that homes.store_secrets names: it is read again by itself"
        return HostUnfit(f"the credentials of the store {store} have expired", code="store_denied", hint=hint)
    if said.code in DENIED or said.status in (401, 403) or said.kind in ("PermissionDeniedError", "UnauthenticatedError"):
        hint = "look at the credentials (their file is read again by itself), and at what they allow: nbctl admin storage policy"
        return HostUnfit(f"the store {store} denies access{f' ({said.code})' if said.code else ''}", code="store_denied", hint=hint)
    return None


def full(said: Said, store: str) -> NbdError | None:
    if said.code in FULL or said.status == 507:
        return HostUnfit(f"the store {store} is full: {said.line}", code="store_unfit", hint="make room, or raise its quota")
    return None


def refused(said: Said, store: str) -> NbdError | None:
    if certificate := re.search(CERTIFICATE, said.text):
        hint = "who vouches for it: ca_file (PEM), in the file that homes.store_secrets names; or the clock of this box is wrong"
        return HostUnfit(f"the store {store} shows a certificate that is not good: {certificate[1]}", code="store_unfit", hint=hint)
    if said.status in (301, 307, 308):
        hint = "look at endpoint and region in the file that homes.store_secrets names"
        return HostUnfit(f"the store {store} is elsewhere: {said.line}", code="store_unfit", hint=hint)
    if said.status in (400, 405, 411, 501) and said.code not in CUT | SLOW:
        return HostUnfit(f"the store {store} does not do what nbd needs: {said.line}", code="store_unfit", hint="see docs/stores.md")
    return None


def away(said: Said, store: str) -> NbdError:
    if said.code in SLOW or said.status in (429, 503):
        return Unreachable(f"the store {store} asks to slow down", code="store_slow")
    return Unreachable(f"the store {store} fails: {said.line}", code="store_away")
