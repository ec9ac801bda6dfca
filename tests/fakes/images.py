"""Images of a fake machine: what a registry has can be fetched, a layer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from nbd.messages import CheckReport
from nbd.notebooks.image import Base, ImageFacts, Said, Stage, Step, StepFailed

from .machine import FakeMachine, Image

REGISTRY = ("example.org/lab/torch:2",)


class FakeImageStore:
    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    async def list(self) -> Sequence[ImageFacts]:
        return [ImageFacts(reference, reference, 1, 0.0) for reference in self._machine.images]

    async def pull(self, reference: str) -> AsyncGenerator[Said, None]:
        step = Step(Stage.PULL, reference, ("podman", "pull", reference))
        self._machine.calls.append("pull")
        yield Said(step, f"Trying to pull {reference}...")
        await asyncio.sleep(0.01)
        if reference not in REGISTRY:
            raise StepFailed(step, 125, ["Error: manifest unknown"])
        self._machine.images[reference] = Image()
        yield Said(step, "Writing manifest to image destination")

    async def build(self, name: str, base: Base) -> AsyncGenerator[Said, None]:
        step = Step(Stage.BUILD, name, ("podman", "build"))
        yield Said(step, "STEP 1/1: FROM nothing")
        raise StepFailed(step, 1, ["this machine builds nothing"])

    async def check(self, reference: str) -> CheckReport:
        return CheckReport(reference)
