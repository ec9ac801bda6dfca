"""What an image is, what is said while one is fetched or built, and what nbd needs of whoever keeps them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ..messages import CheckReport

VERSION_LABEL = "io.nbd.version."
"""Before the name of each thing whose version an image states: `io.nbd.version.jupyterlab=4.6.6`."""
EDITOR_LABEL = "io.nbd.editor"


class Base(StrEnum):
    """Where Debian itself comes from when an image is built."""

    AUTO = "auto"
    """A tree made here when the tool for it is installed, else the registry."""
    REGISTRY = "registry"
    DEBOOTSTRAP = "debootstrap"
    """No container registry is asked for anything; packages come from the box's own Debian and PyPI mirrors."""


class Stage(StrEnum):
    TREE = "tree"
    IMPORT = "import"
    BUILD = "build"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    reference: str
    id: str
    size_bytes: int
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> Mapping[str, str]:
        return {name.removeprefix(VERSION_LABEL): text for name, text in self.labels.items() if name.startswith(VERSION_LABEL)}


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a build, and its share of the whole."""

    stage: Stage
    image: str
    argv: tuple[str, ...]
    before: float = 0.0
    """What share of the whole is done when it begins."""
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Said:
    """A line that a step printed."""

    step: Step
    line: str


class StepFailed(Exception):
    """A command of a pull or a build ended wrongly. `exit_code` is None where it ran out of time."""

    def __init__(self, step: Step, exit_code: int | None, tail: Sequence[str]) -> None:
        super().__init__(f"{step.stage} of {step.image}: exit {exit_code}")
        self.step = step
        self.exit_code = exit_code
        self.tail = tuple(tail)


class ImageStore(Protocol):
    """Podman's images. Closing an iterator early ends what it runs and removes what that left half-made."""

    async def list(self) -> Sequence[ImageFacts]:
        """Every named image. Raises HostUnfit where there is no Podman, Deadline."""

    def pull(self, reference: str) -> AsyncGenerator[Said, None]:
        """Each line as it comes. Raises StepFailed, and as `list`."""

    def build(self, name: str, base: Base) -> AsyncGenerator[Said, None]:
        """Build `images/<name>`, and its base when that is missing.

        Raises InvalidInput(unknown_image), HostUnfit(no_base), StepFailed, and as `list`.
        """

    async def check(self, reference: str) -> CheckReport:
        """Try it as a notebook without network, and remove what was tried. Raises NotFound(image_missing), and as `list`."""
