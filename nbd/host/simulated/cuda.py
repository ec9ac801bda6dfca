"""The simulated CUDA driver for parking: the library that `cuda.c` makes, and the file that it plays beside the box's."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .simulate import compile_library, write

CUDA_SOURCE = Path(__file__).with_name("cuda.c")
CUDA_LIBRARY = "libcuda.so.1"


def compile_cuda(folder: Path) -> Path:
    """As `compile_library`; one folder may hold both."""
    return compile_library(folder, CUDA_SOURCE, CUDA_LIBRARY)


class SimulatedCuda:
    """The file: what goes wrong is written into it, how things are is read from it. The library may write it at the same moment."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with self._locked():
            write(file, file.read_text().splitlines() if file.exists() else [])

    def say(self, *lines: str) -> None:
        """These lines too: "error checkpoint 801 4711", "driver 12040"; see cuda.c."""
        with self._locked():
            write(self.file, [*self._lines(), *lines])

    def unsay(self, *words: str) -> None:
        """All lines that begin with one of these words go."""
        with self._locked():
            write(self.file, [line for line in self._lines() if line.split(" ")[0] not in words])

    def states(self) -> dict[int, int]:
        """CUprocessState by pid, of those that were ever locked."""
        return {int(pid): int(state) for _, pid, state in self._words("state")}

    def calls(self) -> list[tuple[str, int]]:
        """What was called, and on which pid, oldest first; asking for a state is not in it."""
        return [(call, int(pid)) for _, call, pid in self._words("call")]

    def _words(self, word: str) -> list[list[str]]:
        with self._locked():
            return [line.split(" ") for line in self._lines() if line.split(" ")[0] == word]

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.with_name(f"{self.file.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
