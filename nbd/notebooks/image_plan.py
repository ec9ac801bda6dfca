"""Which commands make an image, in which order. Pure: the box's facts come in, argument lists go out.

With a registry: build `base` from Debian's slim image, then the image on it. Without any: make a Debian tree from the packages that apt
gives, import it, and go on the same way. The box's package client settings (certificates, pip.conf) are mounted read-only while building:
they reach the build and never the image. Its apt mirrors go to mmdebstrap, and the tree gets an empty sources.list in the end.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from ..errors import HostUnfit, InvalidInput
from .image import Base, Stage, Step

RELEASE = "bookworm"
REGISTRY_DEBIAN = "debian:12-slim"
BASE = "base"
SLIM = (*(f"path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale", "doc")), "path-include=/usr/share/doc/*/copyright")


@dataclass(frozen=True, slots=True)
class Box:
    """What the plan must know of this box."""

    tools: frozenset[str]
    """Which of mmdebstrap and debootstrap are installed."""
    mounts: tuple[str, ...]
    """Files and folders of package clients that exist here."""
    mirrors: tuple[str, ...]
    """Its apt sources, one line each, as far as they offer RELEASE; see `mirrors_in`."""
    root: bool


@dataclass(frozen=True, slots=True)
class Order:
    name: str
    base: Base
    recipes: frozenset[str]
    """The names that can be built."""
    have_base: bool
    packages: tuple[str, ...]


def plan(order: Order, box: Box, *, folder: PurePath, scratch: PurePath, prefix: str) -> tuple[Step, ...]:
    """The steps of `order`. Raises InvalidInput(unknown_image), HostUnfit(no_base).

    Args:
        folder: holds one folder a recipe.
        scratch: an empty folder with room for a Debian tree.
        prefix: before the names of the images made, "localhost/nbd/".
    """
    if order.name not in order.recipes:
        names = ", ".join(sorted(order.recipes))
        raise InvalidInput(f"nbd builds no image called {order.name[:60]!r}", hint=f"it builds: {names}", code="unknown_image")
    steps: list[Step] = []
    if order.name == BASE or not order.have_base:
        steps += base_steps(order, box, folder=folder, scratch=scratch, prefix=prefix)
    if order.name != BASE:
        steps.append(build_step(order.name, {"BASE": f"{prefix}{BASE}:latest"}, box, folder=folder, prefix=prefix))
    return shared_out(steps)


def base_steps(order: Order, box: Box, *, folder: PurePath, scratch: PurePath, prefix: str) -> list[Step]:
    base = order.base
    if base is Base.AUTO:
        base = Base.DEBOOTSTRAP if box.tools else Base.REGISTRY
    if base is Base.REGISTRY:
        return [build_step(BASE, {"DEBIAN": REGISTRY_DEBIAN}, box, folder=folder, prefix=prefix)]
    if not box.tools:
        raise HostUnfit("neither mmdebstrap nor debootstrap is installed here", hint="apt-get install mmdebstrap", code="no_base")
    tar, tree = scratch / "debian.tar", f"{prefix}debian:12"
    return [
        *tree_steps(order.packages, box, empty_sources=folder / BASE / "sources.list", tar=tar),
        Step(Stage.IMPORT, tree, ("podman", "import", "--quiet", str(tar), tree)),
        build_step(BASE, {"DEBIAN": tree}, box, folder=folder, prefix=prefix),
    ]


def tree_steps(packages: Sequence[str], box: Box, *, empty_sources: PurePath, tar: PurePath) -> list[Step]:
    wanted = ",".join(packages)
    if "mmdebstrap" in box.tools:
        hook = f"upload {shlex.quote(str(empty_sources))} /etc/apt/sources.list"
        options = [f"--dpkgopt={text}" for text in SLIM]
        argv = ("mmdebstrap", "--variant=minbase", f"--include={wanted}", *options, f"--customize-hook={hook}", RELEASE, str(tar), *box.mirrors)
        return [Step(Stage.TREE, "debian", argv)]
    if not box.root:
        raise HostUnfit("debootstrap works as root only", hint="apt-get install mmdebstrap", code="no_base")
    tree = str(tar.with_suffix(""))
    return [
        Step(Stage.TREE, "debian", ("debootstrap", "--variant=minbase", f"--include={wanted}", RELEASE, tree)),
        Step(Stage.TREE, "debian", ("tar", "--create", "--file", str(tar), "--directory", tree, "--exclude=./dev/*", ".")),
    ]


def build_step(name: str, arguments: dict[str, str], box: Box, *, folder: PurePath, prefix: str) -> Step:
    """chroot isolation and the box's network work inside a nested box too. A base of ours is never looked for elsewhere (`--pull=never`).

    One layer a build (`--layers=false`): given up half-way, it leaves no intermediate images.
    """
    # Not for the base: its ca-certificates writes there what the box's folder would hide.
    mounts = [text for path in box.mounts if name != BASE for text in ("--volume", f"{path}:{path}:ro")]
    values = [text for key, value in arguments.items() for text in ("--build-arg", f"{key}={value}")]
    pull = "--pull=missing" if REGISTRY_DEBIAN in arguments.values() else "--pull=never"
    fixed = ("podman", "build", "--isolation", "chroot", "--network", "host", "--layers=false", "--format", "oci", pull)
    reference = f"{prefix}{name}:latest"
    return Step(Stage.BUILD, name, (*fixed, *mounts, *values, "--tag", reference, str(folder / name)))


WEIGHT = {Stage.TREE: 4.0, Stage.IMPORT: 1.0, Stage.BUILD: 2.0, Stage.PULL: 1.0}
"""How long the stages take, compared with each other."""


def shared_out(steps: Sequence[Step]) -> tuple[Step, ...]:
    total = sum(WEIGHT[step.stage] for step in steps)
    placed: list[Step] = []
    before = 0.0
    for step in steps:
        share = WEIGHT[step.stage] / total
        placed.append(replace(step, before=before, share=share))
        before += share
    return tuple(placed)


def packages_in(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def mirrors_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The one-line sources among the box's apt files that offer RELEASE's main packages; other vendors' and other releases' are left out."""
    found = [line for text in texts for line in (*one_line_sources(text), *stanza_sources(text))]
    return tuple(dict.fromkeys(found))


def one_line_sources(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("deb "):
            continue
        words = [word for word in line.split("]", 1)[-1].split("#", 1)[0].split() if word != "deb"]
        if len(words) >= 3:
            lines += wanted(words[:1], words[1:2], words[2:])
    return lines


def stanza_sources(text: str) -> list[str]:
    lines = []
    for stanza in text.split("\n\n"):
        pairs = (line.split(":", 1) for line in stanza.splitlines() if ":" in line and not line.startswith(("#", " ")))
        fields = {key.casefold(): value.split() for key, value in pairs}
        if "deb" in fields.get("types", []) and fields.get("enabled") != ["no"]:
            lines += wanted(fields.get("uris", []), fields.get("suites", []), fields.get("components", []))
    return lines


def wanted(uris: Sequence[str], suites: Sequence[str], components: Sequence[str]) -> list[str]:
    known = {RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security"}
    return [f"deb {uri} {suite} main" for uri in uris for suite in suites if suite in known and "main" in components]
