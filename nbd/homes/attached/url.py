"""Which buckets, options and places may be named, and by whom. Pure.

What a person names must not lead nbd to anywhere but the public endpoints of three providers, and one that the admin named: no endpoint, no token
server, no text in what becomes part of a host's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from ...errors import InvalidInput, Refused
from .names import unfit

EXAMPLE = "s3://bucket/prefix, az://container/prefix or gs://bucket/prefix"
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
SCHEMES = ("s3", "az", "gs")
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var")
"""Neither these nor anything in them."""
WHOLE = ("/", "/opt")
"""Not these themselves."""
SECRET = r"[\x21-\x7e]{1,4096}"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "s3": {"access_key_id": r"[A-Za-z0-9_-]{1,128}", "secret_access_key": SECRET, "session_token": SECRET, "region": r"[a-z0-9-]{1,40}"},
    "az": {"account_name": r"[a-z0-9]{3,24}", "account_key": r"[A-Za-z0-9+/=]{1,200}", "sas_key": SECRET},
    "gs": {"service_account_key": r"(?s)\{.{1,16000}\}"},
}
"""What a person may say of their bucket, and how it has to look."""
KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "s3": (("access_key_id", "secret_access_key"),),
    "az": (("account_key",), ("sas_key",)),
    "gs": (("service_account_key",),),
}
"""Any of these is enough to sign a request; without one none is signed."""
GOOGLE_FIELDS = ("type", "private_key_id", "private_key", "client_email")
"""Of a service account's key: the others say where tokens and objects are to be had."""


class Place(NamedTuple):
    scheme: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parsed(url: str) -> Place:
    """Raises InvalidInput."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.removesuffix("/")
    if scheme not in SCHEMES or not BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{url[:100]!r} is no bucket", hint=EXAMPLE, code="bad_attachment")
    if prefix and (why := unfit(prefix)):
        raise InvalidInput(f"{url[:100]!r} cannot be attached: {why}", hint=EXAMPLE, code="bad_attachment")
    return Place(scheme, bucket, prefix)


def unfit_path(path: str, home: str = "", used: tuple[str, ...] = ()) -> str:
    """Why a bucket cannot be seen there; empty if it can. `used`: where other things are."""
    pure = PurePosixPath(path)
    if not re.fullmatch(r"/[^\x00-\x1f\x7f]{0,500}", path) or ".." in pure.parts or str(pure) != path or path.startswith("//"):
        return "it must be an absolute path, without '..' and without a slash at its end"
    if path in WHOLE or any(within(path, folder) for folder in SYSTEM):
        return "the system is there; choose one such as /data"
    if home and (within(path, home) or within(home, path)):
        return "the home is there; choose one such as /data, and link to it: ln -s /data ~/data"
    other = next((one for one in used if within(path, one) or within(one, path)), "")
    return f"{other} is there already" if other else ""


def within(path: str, folder: str) -> bool:
    return PurePosixPath(path) == PurePosixPath(folder) or PurePosixPath(folder) in PurePosixPath(path).parents


def persons_options(scheme: str, given: Mapping[str, str]) -> dict[str, str]:
    """What a person said of their bucket, checked and cut down. Raises Refused, InvalidInput; neither says a value."""
    allowed = OPTIONS[scheme]
    for name, value in given.items():
        if name not in allowed:
            hint = "an endpoint is the admin's to name: attached.endpoint" if "endpoint" in name or "url" in name else "known: " + ", ".join(allowed)
            raise Refused(f"{name[:60]!r} cannot be said of a {scheme}:// bucket of your own", hint=hint, code="bad_option")
        if not re.fullmatch(allowed[name], value):
            raise InvalidInput(f"{name} is not what it has to look like", code="bad_option")
    options = dict(given)
    if "service_account_key" in options:
        options["service_account_key"] = google_key(options["service_account_key"])
    if scheme == "s3" and len({"access_key_id", "secret_access_key"} & options.keys()) == 1:
        raise InvalidInput("access_key_id and secret_access_key go together", code="bad_option")
    return options


def google_key(text: str) -> str:
    try:
        key = json.loads(text)
        kept = {name: key[name] for name in GOOGLE_FIELDS}
        if kept["type"] != "service_account" or not all(isinstance(value, str) for value in kept.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput("service_account_key is not the JSON key of a service account", code="bad_option") from None
    return json.dumps(kept)


def signs(scheme: str, options: Mapping[str, str]) -> bool:
    return any(all(name in options for name in names) for names in KEYS[scheme])
