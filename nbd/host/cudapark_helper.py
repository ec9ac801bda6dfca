"""The process that makes the driver's checkpoint calls: `python -m nbd.host.cudapark_helper`. Nobody but `cudapark.py` starts it.

It reads questions as lines on stdin and answers each on stdout; at end of file it ends. It does not die with its parent: a checkpoint that has
begun is finished although core was killed meanwhile, because what a process is like whose checkpoint was cut off nobody says. What bounds it is
an alarm: a call that takes longer than it may ends this process, whether or not somebody still waits for the answer.

The calls, their structures and codes are those of cuda.h: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__CHECKPOINT.html (since CUDA
12.8, driver 570; `gpuPairs` since CUDA 13.0, driver 580). Every args structure has 64 bytes, and what is not used must be zero. A restore wants
cuInit in the calling process, or persistence mode. ctypes is enough for five calls; `cuda-bindings` is one more thing to install and to match.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from .. import wire
from ..notebooks.rest.ports import CudaState
from .cudapark_lines import Act, Answer, Lack, Question, StateOf, Target

LIBRARY = "libcuda.so.1"
CALLS = {
    Act.LOCK: "cuCheckpointProcessLock",
    Act.CHECKPOINT: "cuCheckpointProcessCheckpoint",
    Act.RESTORE: "cuCheckpointProcessRestore",
    Act.UNLOCK: "cuCheckpointProcessUnlock",
}
STATE_CALL = "cuCheckpointProcessGetState"
STATES = (CudaState.RUNNING, CudaState.LOCKED, CudaState.CHECKPOINTED, CudaState.FAILED, CudaState.BUSY, CudaState.BUSY)
"""By CUprocessState. 4 and 5, "checkpointing" and "restoring", are told by the newest drivers only."""
FIRST_WITH_CHECKPOINTS = 12080
ARGS_BYTES = 64
IDLE_SECONDS = 40.0
"""So long it waits for a question; then it ends, and the driver's library and devices are let go of: a driver can be replaced."""


class LockArgs(ctypes.Structure):
    _fields_ = [("timeoutMs", ctypes.c_uint), ("reserved", ctypes.c_char * (ARGS_BYTES - ctypes.sizeof(ctypes.c_uint)))]


class GpuPair(ctypes.Structure):
    _fields_ = [("oldUuid", ctypes.c_ubyte * 16), ("newUuid", ctypes.c_ubyte * 16)]


class RestoreArgs(ctypes.Structure):
    _fields_ = [
        ("gpuPairs", ctypes.POINTER(GpuPair)),
        ("gpuPairsCount", ctypes.c_uint),
        ("reserved", ctypes.c_char * (ARGS_BYTES - ctypes.sizeof(ctypes.c_void_p) - ctypes.sizeof(ctypes.c_uint))),
    ]


class Driver:
    """The library, loaded and initialised at the first question."""

    def __init__(self) -> None:
        self._library: Any = None
        self._version = 0

    def answer(self, question: Question) -> Answer:
        trouble = None if self._library else self._open(question.number)
        if trouble or question.act is Act.OPEN:
            return trouble or Answer(question.number, version=self._version)
        if question.act is Act.STATES:
            return Answer(question.number, version=self._version, states=self._states(question.targets))
        (target,) = question.targets
        if start_ticks(target.pid) != target.start_ticks:
            return Answer(question.number, gone=True)
        code = int(getattr(self._library, CALLS[question.act])(ctypes.c_int(target.pid), args_of(question)))
        gone = code != 0 and start_ticks(target.pid) != target.start_ticks
        return Answer(question.number, code=code, name=self._name(code), gone=gone, version=self._version)

    def _open(self, number: int) -> Answer | None:
        try:
            library = ctypes.CDLL(LIBRARY)
        except OSError:
            return Answer(number, lack=Lack.LIBRARY)
        version = ctypes.c_int()
        library.cuDriverGetVersion(ctypes.byref(version))
        if version.value < FIRST_WITH_CHECKPOINTS or not all(hasattr(library, name) for name in (*CALLS.values(), STATE_CALL)):
            return Answer(number, lack=Lack.OLD, version=version.value)
        code = int(library.cuInit(0))
        self._library, self._version = library, version.value
        if code:
            self._library = None
            return Answer(number, code=code, name=name_of(library, code), version=version.value)
        return None

    def _states(self, targets: tuple[Target, ...]) -> tuple[StateOf, ...]:
        """Who has no CUDA context answers with an error, which one depends on the driver: it is missing."""
        found = []
        for target in targets:
            state = ctypes.c_int(-1)
            code = int(getattr(self._library, STATE_CALL)(ctypes.c_int(target.pid), ctypes.byref(state)))
            # Asked after the call: a pid that is somebody else's by now tells nothing.
            if code == 0 and 0 <= state.value < len(STATES) and start_ticks(target.pid) == target.start_ticks:
                found.append(StateOf(target.pid, STATES[state.value]))
        return tuple(found)

    def _name(self, code: int) -> str:
        return name_of(self._library, code) if code else ""


def name_of(library: Any, code: int) -> str:
    name = ctypes.c_char_p()
    library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(name))
    return name.value.decode() if name.value else f"CUDA error {code}"


def args_of(question: Question) -> Any:
    if question.act is Act.LOCK:
        return ctypes.byref(LockArgs(timeoutMs=question.milliseconds))
    if question.act is Act.RESTORE and question.moves:
        # The pointer of the structure keeps the array alive: ctypes holds on to what is assigned to a field.
        pairs = pairs_of(question.moves)
        return ctypes.byref(RestoreArgs(ctypes.cast(pairs, ctypes.POINTER(GpuPair)), len(question.moves)))
    return None


def pairs_of(moves: Mapping[str, str]) -> Any:
    pairs = (GpuPair * len(moves))()
    for pair, (old, new) in zip(pairs, moves.items(), strict=True):
        pair.oldUuid[:], pair.newUuid[:] = uuid_bytes(old), uuid_bytes(new)
    return pairs


def uuid_bytes(uuid: str) -> bytes:
    """ "GPU-1a2b3c4d-…" as CUuuid has it: 16 bytes in the order in which they are written."""
    return bytes.fromhex(uuid.removeprefix("GPU-").replace("-", ""))


def start_ticks(pid: int) -> int | None:
    """As `processes.py` reads it; this helper is kept free of what it does not need."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def own_stdout() -> TextIO:
    """stdout for answers alone: whatever a driver library prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a call that has begun is finished
        signal.signal(number, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS)  # SIGALRM's own way: the end, also in the middle of a call
    driver, answers = Driver(), own_stdout()
    try:
        for line in sys.stdin:
            question = wire.decode(Question, line)
            signal.setitimer(signal.ITIMER_REAL, question.seconds)
            answer = driver.answer(question)
            signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS)
            answers.write(wire.encode(answer) + "\n")
            answers.flush()
    except BrokenPipeError:
        os._exit(0)  # Nobody waits for the answer any more; what was asked is done.


if __name__ == "__main__":
    main()
