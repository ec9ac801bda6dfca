"""What stores answer, word for word as obstore passes it on, and what becomes of it."""

from __future__ import annotations

import pytest

from nbd.errors import Conflict, HostUnfit, NbdError, NotFound, Unreachable
from nbd.host.storewords import Said, trouble

GET = "Error performing GET https://s3.example/homes/ada/latest?X-Signature=hush in 27.954224ms - "
STATUS = GET + "Server returned non-2xx status code: "


def answered(status: int, code: str = "", kind: str = "GenericError") -> Said:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else ""
    return Said(kind, f"Generic S3 error: {STATUS}{status} Words: {body}\n\nDebug source:\nGeneric {{ more }}")


TABLE: list[tuple[Said, type[NbdError], str, bool]] = [
    (answered(503, "SlowDown"), Unreachable, "store_slow", True),
    (answered(503, "ServerBusy"), Unreachable, "store_slow", True),
    (answered(503), Unreachable, "store_slow", True),
    (answered(429), Unreachable, "store_slow", True),
    (answered(500, "InternalError"), Unreachable, "store_away", True),
    (answered(502), Unreachable, "store_away", True),
    (answered(400, "RequestTimeout"), Unreachable, "store_away", True),
    (answered(400, "BadDigest"), Unreachable, "store_away", True),
    (answered(400, "IncompleteBody"), Unreachable, "store_away", True),
    (answered(409, "ConditionalRequestConflict", "AlreadyExistsError"), Unreachable, "store_busy", True),
    (answered(409, "BlobAlreadyExists", "AlreadyExistsError"), Conflict, "store_changed", False),
    (answered(412, "ConditionNotMet", "PreconditionError"), Conflict, "store_changed", False),
    (answered(404, "NoSuchKey", "FileNotFoundError"), NotFound, "store_missing", False),
    (answered(404, "BlobNotFound", "FileNotFoundError"), NotFound, "store_missing", False),
    (answered(404, "NoSuchBucket", "FileNotFoundError"), HostUnfit, "store_unfit", False),
    (answered(404, "ContainerNotFound", "FileNotFoundError"), HostUnfit, "store_unfit", False),
    (answered(400, "ExpiredToken"), HostUnfit, "store_denied", False),
    (answered(403, "ExpiredToken", "PermissionDeniedError"), HostUnfit, "store_denied", False),
    (answered(400, "InvalidToken"), HostUnfit, "store_denied", False),
    (answered(401, "", "UnauthenticatedError"), HostUnfit, "store_denied", False),
    (answered(403, "", "PermissionDeniedError"), HostUnfit, "store_denied", False),
    (answered(403, "RequestTimeTooSkewed", "PermissionDeniedError"), HostUnfit, "store_denied", False),
    (answered(400, "AuthenticationFailed"), HostUnfit, "store_denied", False),
    (answered(507), HostUnfit, "store_unfit", False),
    (answered(403, "QuotaExceeded", "PermissionDeniedError"), HostUnfit, "store_unfit", False),
    (answered(301, "PermanentRedirect"), HostUnfit, "store_unfit", False),
    (answered(501, "NotImplemented"), HostUnfit, "store_unfit", False),
    (answered(400, "InvalidArgument"), HostUnfit, "store_unfit", False),
    (Said("GenericError", f"Generic S3 error: {GET}HTTP error: error sending request"), Unreachable, "store_away", True),
    (Said("OSError", "connection reset"), Unreachable, "store_away", True),
]


@pytest.mark.parametrize(("said", "kind", "code", "retryable"), TABLE, ids=lambda value: value.text[90:] if isinstance(value, Said) else None)
def test_every_answer_has_its_word(said: Said, kind: type[NbdError], code: str, retryable: bool) -> None:  # noqa: FBT001
    error = trouble(said, "s3://homes/ada", "latest")
    assert (type(error), error.code, error.retryable) == (kind, code, retryable)
    assert "hush" not in str(error)
    assert kind is not HostUnfit or error.hint
    assert "\n" not in error.message
    assert "27.9" not in error.message, "the same trouble has the same words, so that it is told once"
    assert len(error.message) <= 200


def test_the_cause_is_told() -> None:
    text = f'Generic S3 error: {GET}HTTP error: error sending request\n\nDebug source: Os {{ code: 111, message: "Connection refused" }}'
    assert trouble(Said("GenericError", text), "s3://homes", "latest").message == (
        "the store s3://homes fails: Connection refused (GET https://s3.example)"
    )
    text = text.replace("Os {", "error: InvalidCertificate(\n   UnknownIssuer,\n").replace("message", "text")
    error = trouble(Said("GenericError", text), "s3://homes", "latest")
    assert (error.code, error.message[-13:]) == ("store_unfit", "UnknownIssuer")
    assert "ca_file" in error.hint
    assert "clock" in trouble(answered(403, "RequestTimeTooSkewed"), "s3://homes", "latest").message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"Generic S3 error: {STATUS}500 Internal Server Error: {'x' * 9000}", "500 Internal Server Error (GET https://s3.example)"),
        (answered(500, "InternalError").text, "InternalError, 500 Words (GET https://s3.example)"),
        (f"{GET}HTTP error: error sending request\n\n kind: Timeout,\n source: TimedOut,", "it does not answer in time (GET https://s3.example)"),
        (f"{GET}HTTP error: x\n hyper::Error(\n IncompleteMessage,", "it breaks off in the middle of its answer (GET https://s3.example)"),
        (f"{GET}HTTP error: x\n hyper::Error(\n Parse(\n Version,", "what answers there is no such store (GET https://s3.example)"),
        (f"{GET}HTTP error: x\n failed to lookup address information: Name or service not known\"",
         "failed to lookup address information: Name or service not known (GET https://s3.example)"),
        (f"Generic S3 error: {GET}HTTP error: error sending request", "HTTP error: error sending request (GET https://s3.example)"),
        ("connection reset", "connection reset"), ("y" * 5000, "y" * 120),
    ],
)  # fmt: skip
def test_the_cause_comes_first_in_few_words(text: str, line: str) -> None:
    assert Said("GenericError", text).line == line


def test_past_the_end() -> None:
    assert answered(416, "InvalidRange").past_the_end
    assert Said("GenericError", "Generic MicrosoftAzure error: Wanted range starting at 5, but object was only 5 bytes long").past_the_end
    assert not answered(404).past_the_end
