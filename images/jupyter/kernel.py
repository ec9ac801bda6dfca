"""Starts the Python kernel, in a full home too.

IPython cannot start where it cannot write its profile, and takes a history it cannot append to for a corrupt one and moves it
away. So when the home has no room, the kernel's profile and history go to /tmp, and the person is told in the log.
"""

import os
import sys
import tempfile
from pathlib import Path

ROOM = 1 << 20


def has_room(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError:
        return False
    return True


def main() -> None:
    sys.path.pop(0)  # this file's folder; the notebook's own is added by the kernel
    ipython = Path(os.environ.get("IPYTHONDIR", Path.home() / ".ipython"))
    if not has_room(ipython if ipython.is_dir() else Path.home()):
        os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="ipython-")
        print(f"no room in {ipython}: this kernel's history is not kept", file=sys.stderr)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
