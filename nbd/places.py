"""Where one nbd keeps things: the package's places, or all under one folder for `nbd dev`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Places:
    config: Path
    profiles: Path
    state: Path
    run: Path
    images: Path
    """The recipes of the images that nbd builds."""
    own: tuple[Path, ...]
    """Everything that is nbd's alone: no notebook sees it."""

    @property
    def socket(self) -> Path:
        return self.run / "nbd.sock"

    @property
    def sync_state(self) -> Path:
        """What sync keeps, and nobody else touches: it may be another account's."""
        return self.state / "sync"

    @property
    def sync_run(self) -> Path:
        return self.run / "sync"

    @property
    def sync_socket(self) -> Path:
        return self.sync_run / "sync.sock"

    @property
    def restore_socket(self) -> Path:
        """Where sync streams what is restored; core connects and hands the connection to a child that is the person."""
        return self.sync_run / "restore.sock"

    @property
    def events_socket(self) -> Path:
        """Where core hands sync its queue of what changes on the disks."""
        return self.sync_run / "events.sock"


STATE, RUN = Path("/var/lib/nbd"), Path("/run/nbd")
SYSTEM = Places(Path("/etc/nbd/nbd.toml"), Path("/etc/nbd/profiles.d"), STATE, RUN, Path("/usr/share/nbd/images"), (STATE, RUN))


def under(folder: Path) -> Places:
    """For `nbd dev`: state and sockets in `folder`, the rest from there where it exists and else from this checkout."""
    config, profiles = folder / "nbd.toml", folder / "profiles.d"
    offers = profiles if profiles.is_dir() else CHECKOUT / "config/profiles.d"
    state, run = folder / "state", folder / "run"
    return Places(config, offers, state, run, CHECKOUT / "images", (folder, state, run))
