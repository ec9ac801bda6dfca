"""Secrets of the store, from files alone: what systemd hands over, or what nobody else may read. Never from the environment or an argument."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import HostUnfit, InvalidInput
from ..wire import nearest

SECRETS, MASTER_KEY = "nbd.store-secrets", "nbd.master-key"
"""Names of systemd credentials."""
CA_FILE = "ca_file"
ANYWHERE = ("endpoint", CA_FILE)
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": (
        "access_key_id", "secret_access_key", "session_token", "region", "virtual_hosted_style_request", "request_payer",
        "server_side_encryption", "sse_kms_key_id", "sse_bucket_key_enabled",
    ),
    "az": ("account_name", "account_key", "sas_key", "client_id", "client_secret", "tenant_id", "authority_host"),
    "gs": ("service_account_key", "service_account_file", "bearer_token"),
}  # fmt: skip
ENOUGH: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "s3": (("access_key_id", "secret_access_key"),),
    "az": (("account_name", "account_key"), ("account_name", "sas_key"), ("account_name", "client_id", "client_secret", "tenant_id")),
    "gs": (("service_account_key",), ("service_account_file",), ("bearer_token",)),
}
ENDPOINTS: Mapping[str, str] = {"s3": "endpoint", "az": "endpoint", "gs": "base_url"}
"""What obstore calls it."""


@dataclass(frozen=True, slots=True)
class Access:
    """obstore's options and its client's."""

    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)


def secret_file(configured: str | None, credential: str) -> Path | None:
    """The file of the settings, else systemd's credential of that name where there is one."""
    if configured:
        return Path(configured)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / credential if folder else None
    return path if path and path.exists() else None


def read_secret(path: Path, what: str) -> str:
    """Raises HostUnfit, with the command that mends it, for a file that others may read."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(1 << 20)
    except OSError as error:
        raise HostUnfit(f"{what} {path} cannot be read: {error.strerror}", code="key_unfit") from None
    # systemd keeps its folder from everybody else, and gives a service that is not root's its right by an access list, which looks like a group's.
    if stat.S_IMODE(mode) & 0o077 and str(path.parent) != os.environ.get("CREDENTIALS_DIRECTORY"):
        raise HostUnfit(f"others may read {what} {path}", code="key_unfit", hint=f"chmod 0600 {path}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise HostUnfit(f"{what} {path} is no text", code="key_unfit") from None


def access(scheme: str, file: Path | None, *, role: bool, what: str = "homes.store_secrets") -> Access:
    """What the file says that `what` names, checked. `role`: without credentials, the cloud's metadata service is asked. Raises HostUnfit,
    InvalidInput."""
    found: dict[str, Any] = {}
    if file is not None:
        try:
            found = tomllib.loads(read_secret(file, what))
        except tomllib.TOMLDecodeError as error:
            # Its text may quote the file, so only the place is told.
            place = str(error).rpartition("(at ")[2].rstrip(")")
            raise InvalidInput(f"{file} is not TOML: {place}", code="bad_config") from None
    known = (*OPTIONS[scheme], *ANYWHERE)
    for key, value in found.items():
        if key not in known:
            raise InvalidInput(f"{file}: {key} is nothing that {scheme}:// stores know", hint=nearest(key, dict.fromkeys(known)), code="bad_config")
        if not isinstance(value, (str, bool, int)) or value == "":
            raise InvalidInput(f"{file}: {key} must be a text in quotes", code="bad_config")
    if not role and not any(all(key in found for key in keys) for keys in ENOUGH[scheme]):
        ways = "; or ".join(" and ".join(keys) for keys in ENOUGH[scheme])
        hint = f"a TOML file of mode 0600, named by {what}, with {ways}; in that cloud itself: homes.store_role = true"
        lacking = f"{file} lacks" if file else f"{what} is not set, which has"
        raise InvalidInput(f"{lacking} the credentials of a {scheme}:// store", hint=hint, code="bad_config")
    return spelled(scheme, {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in found.items()})


def spelled(scheme: str, options: dict[str, str]) -> Access:
    """As obstore calls them."""
    client: dict[str, Any] = {}
    if CA_FILE in options:
        path = Path(options.pop(CA_FILE))
        try:
            client["root_certificate"] = path.read_bytes()
        except OSError as error:
            raise HostUnfit(f"{CA_FILE} {path} cannot be read: {error.strerror}", code="key_unfit") from None
    if "service_account_file" in options:
        options["service_account_key"] = read_secret(Path(options.pop("service_account_file")), "service_account_file")
    if "endpoint" in options:
        endpoint = options.pop("endpoint")
        options[ENDPOINTS[scheme]] = endpoint
        if endpoint.startswith("http://"):
            client["allow_http"] = True
    return Access(options, client)
