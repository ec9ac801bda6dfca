"""What the CUDA driver's codes mean to a person. Pure.

Which code means what was put together from cuda.h and from what people met (github.com/NVIDIA/cuda-checkpoint, issues 10, 25, 35, 44, 58): the
reference names only a few for each call.
"""

from __future__ import annotations

from ..errors import Conflict, HostUnfit, NbdError, NoCapacity, NotFound
from .cudapark_lines import Act, Answer

LOOK_AT_THE_LOG = "see what the driver says: journalctl -k -g 'NVRM|Xid'"
INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, ILLEGAL_STATE = 1, 2, 3, 401
NOT_READY, NOT_PERMITTED, NOT_SUPPORTED = 600, 800, 801
DOING = {Act.LOCK: "stopping", Act.CHECKPOINT: "moving to memory", Act.RESTORE: "bringing back", Act.UNLOCK: "letting go on"}
CANNOT = "managed (UVM) memory, memory shared with other processes (CUDA IPC), MIG and MPS cannot be parked"


def absent() -> HostUnfit:
    hint = "apt-get install libcuda1, or the driver's compute part"
    return HostUnfit("the NVIDIA driver's libcuda.so.1 is not installed", hint=hint, code="cuda_absent")


def too_old(version: int) -> HostUnfit:
    text = f"the NVIDIA driver is too old to park a process: it has CUDA {version // 1000}.{version % 1000 // 10}, 12.8 is needed"
    return HostUnfit(text, hint="install driver 570 or newer (580 to move to another card)", code="driver_too_old")


def refusal(act: Act, answer: Answer, pid: int) -> NbdError | None:
    """None: it is done."""
    if answer.gone:
        return NotFound(f"pid {pid} has ended", code="process_gone")
    if not answer.code:
        return None
    what, said = f"{DOING[act]} pid {pid}", f"the CUDA driver says {answer.name}"
    if answer.code == NOT_READY:
        hint = "it works; it is asked again later"
        return Conflict(f"pid {pid} did not end its work on the GPU in time", hint=hint, code="gpu_busy", retryable=True)
    if answer.code == OUT_OF_MEMORY and act is Act.RESTORE:
        return NoCapacity(f"{what}: the card has not enough free memory", hint="see who uses it: nbctl gpus", code="gpu_memory", retryable=True)
    if answer.code == OUT_OF_MEMORY:
        return NoCapacity(f"{what}: the box has not enough free memory", hint="see: free -h", code="host_memory", retryable=True)
    if answer.code == ILLEGAL_STATE:
        return Conflict(f"{what}: {said}", hint="it is looked at again", code="cuda_state", retryable=True)
    if answer.code == NOT_INITIALIZED:
        return NotFound(f"pid {pid} has no CUDA context", code="no_context")
    if answer.code == NOT_PERMITTED:
        return HostUnfit(f"{what}: {said}", hint="nbd core must be root, with CAP_SYS_PTRACE, in the host's pid namespace", code="not_permitted")
    if answer.code == NOT_SUPPORTED:
        return HostUnfit(f"{what}: {said}", hint=CANNOT, code="cannot_park")
    if answer.code == INVALID_VALUE and act is Act.RESTORE:
        return HostUnfit(f"{what}: {said}", hint="another card of the same kind may have been refused; its own is waited for", code="cannot_move")
    return HostUnfit(f"{what}: {said}", hint=LOOK_AT_THE_LOG, code="driver_failed", retryable=True)
