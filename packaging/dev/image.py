"""image.py FOLDER NAME: build an image from its recipe in FOLDER and show its progress. What `nbctl image build` does, without a daemon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nbd.editors import EDITORS
from nbd.errors import NbdError
from nbd.host.images import PodmanImages
from nbd.notebooks.images import Images


async def build(folder: Path, name: str) -> None:
    images = Images(PodmanImages(folder, "localhost/nbd/", EDITORS))
    shown = ""
    async for progress in images.build(name):
        text = f"image {name}: {(progress.fraction or 0) * 100:3.0f} %  {progress.text}"
        if sys.stderr.isatty():
            print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)
        elif progress.text.split(":")[0] != shown:
            shown = progress.text.split(":")[0]
            print(text, file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def main() -> int:
    try:
        asyncio.run(build(Path(sys.argv[1]), sys.argv[2]))
    except NbdError as error:
        print(f"set-up: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
