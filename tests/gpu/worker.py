"""What is parked by park.py: a program that uses a GPU and tells, a line a step, what it computes. With PyTorch it trains; without, it counts.

    python tests/gpu/worker.py torch|driver|managed|idle GIB

It does a step for each line that it reads, and answers with "STEP VALUE"; at end of file it ends. Nothing of nbd is in it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

GIB = 1 << 30
MANAGED_BYTES = 64 << 20
"""Small on purpose: more managed memory than the card has free can hang the card."""


def torch_steps(size: int) -> Iterator[float]:
    """A small model that is trained, and a ballast whose every byte is checked at each step."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    torch.manual_seed(7)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    device = torch.device("cuda")
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ballast = torch.arange(size // 8, dtype=torch.int64, device=device) if size else torch.zeros(1, dtype=torch.int64, device=device)
    wanted = int(ballast.sum().item())
    while True:
        inputs = torch.randn(1024, 256, device=device)
        loss = (model(inputs) - inputs.square().mean(dim=1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if int(ballast.sum().item()) != wanted:
            raise SystemExit("the ballast is not what it was")
        yield float(loss.item())


class Cuda:
    """Five calls of the driver, each checked."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            raise SystemExit(f"{name}: CUDA error {code}")

    def context(self) -> None:
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def allocate(self, size: int, *, managed: bool) -> Any:
        where = ctypes.c_uint64()
        if managed:
            self.call("cuMemAllocManaged", ctypes.byref(where), ctypes.c_size_t(size), ctypes.c_uint(1))
        else:
            self.call("cuMemAlloc_v2", ctypes.byref(where), ctypes.c_size_t(size))
        return where


def driver_steps(size: int, *, managed: bool) -> Iterator[float]:
    """A number on the card that is read, counted up and written to all of the memory."""
    cuda = Cuda()
    cuda.context()
    size = MANAGED_BYTES if managed else max(size, 1 << 20)
    where = cuda.allocate(size, managed=managed)
    cuda.call("cuMemsetD32_v2", where, ctypes.c_uint(0), ctypes.c_size_t(size // 4))
    last = ctypes.c_uint64(where.value + size - 4)
    while True:
        first, end = ctypes.c_uint(), ctypes.c_uint()
        cuda.call("cuMemcpyDtoH_v2", ctypes.byref(first), where, ctypes.c_size_t(4))
        cuda.call("cuMemcpyDtoH_v2", ctypes.byref(end), last, ctypes.c_size_t(4))
        if first.value != end.value:
            raise SystemExit("the memory is not what it was")
        cuda.call("cuMemsetD32_v2", where, ctypes.c_uint(first.value + 1), ctypes.c_size_t(size // 4))
        yield float(first.value)


def idle_steps() -> Iterator[float]:
    """It asked what cards there are, and nothing more."""
    Cuda()
    while True:
        yield 0.0


def steps_of(kind: str, size: int) -> Iterator[float]:
    if kind == "torch":
        return torch_steps(size)
    if kind == "idle":
        return idle_steps()
    return driver_steps(size, managed=kind == "managed")


def main() -> None:
    kind, size = sys.argv[1], int(float(sys.argv[2]) * GIB)
    steps = steps_of(kind, size)
    for number, _ in enumerate(sys.stdin):
        print(number, repr(next(steps)), flush=True)


if __name__ == "__main__":
    main()
