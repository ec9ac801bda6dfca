"""The usual suspects when a home is full: what they are called, how they are known, and the command with which a person frees them. Pure.

Nothing here deletes; a command is a suggestion for the person's own shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

BIG = 1 << 20
"""A smaller file is nobody's trouble."""
LARGE = 64 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    title: str
    advice: str
    command: str
    """`{place}` is the folder or file, quoted for a shell; `{home}` the home."""
    folder: str = ""
    """A pattern that the path below the home matches, whole."""
    file: str = ""
    """A pattern that a large file's name matches, whole."""
    least: int = BIG
    together: bool = False
    """All places are one line: there are many small ones."""


REMOVE = "rm -rf -- {place}"
KINDS: Mapping[str, Kind] = {
    "trash": Kind("Trash", "thrown away already", "rm -rf -- {place}/*", folder=r"\.local/share/Trash|(.*/)?\.Trash-\d+"),
    "hugging_face": Kind("Hugging Face cache", "fetched again when it is needed", REMOVE, folder=r"\.cache/huggingface"),
    "pip": Kind("pip cache", "fetched again when it is needed", "pip cache purge", folder=r"\.cache/pip"),
    "uv": Kind("uv cache", "fetched again when it is needed", "uv cache clean", folder=r"\.cache/uv"),
    "cache": Kind(
        "Cache",
        "made or fetched again when it is needed",
        REMOVE,
        folder=r"\.cache/[^/]+|\.keras/(datasets|models)|\.(nv|triton)/[^/]*[Cc]ache",
    ),
    "npm": Kind("npm cache", "fetched again when it is needed", "npm cache clean --force", folder=r"\.npm/_cacache"),
    "conda": Kind(
        "conda packages",
        "what no environment uses goes",
        "conda clean --all",
        folder=r"(\.conda|miniconda3|anaconda3|miniforge3|mambaforge|micromamba)/pkgs",
    ),
    "restored": Kind("Restored copy", "nbd put it there when something was restored", REMOVE, folder=r"restored-\d{4}-\d\d-\d\d-\d{6}"),
    "autosaves": Kind(
        "Notebook autosaves",
        "Jupyter's second copies; snapshots hold the older ones",
        "find {home} -type d -name .ipynb_checkpoints -prune -exec rm -rf {{}} +",
        folder=r"(.*/)?\.ipynb_checkpoints",
        together=True,
    ),
    "bytecode": Kind(
        "Python bytecode",
        "made again by the next import",
        "find {home} -type d -name __pycache__ -prune -exec rm -rf {{}} +",
        folder=r"(.*/)?__pycache__",
        together=True,
    ),
    "checkpoints": Kind("Model checkpoints", "keep the ones you need", "du -sh -- {place}/* | sort -h", folder=r"(.*/)?(checkpoints?|ckpts?)"),
    "checkpoint": Kind("Model checkpoint", "keep it if you need it", REMOVE, folder=r"(.*/)?checkpoint-\d+"),
    "weights": Kind("Model checkpoint", "keep it if you need it", "rm -- {place}", file=r".*\.ckpt", least=LARGE),
    "core": Kind("Core dump", "what a crashed program left", "rm -- {place}", file=r"core(\.\d+)?"),
}
"""In the order in which they are tried: the first that matches has it, and all that is below."""
FOLDERS = [(name, re.compile(kind.folder.encode(), re.DOTALL)) for name, kind in KINDS.items() if kind.folder]
FILES = [(name, re.compile(kind.file.encode(), re.DOTALL), kind.least) for name, kind in KINDS.items() if kind.file]


def of_folder(path: bytes) -> str:
    """Which one a folder is; empty for none. `path` is below the home."""
    return next((name for name, pattern in FOLDERS if pattern.fullmatch(path)), "")


def of_file(name: bytes, size: int) -> str:
    if size < BIG:
        return ""
    return next((kind for kind, pattern, least in FILES if size >= least and pattern.fullmatch(name)), "")


def command(kind: str, home: str, place: bytes) -> str:
    """What the person may type; right for any name."""
    return KINDS[kind].command.format(place=quoted(home.encode("utf-8", "surrogateescape") + b"/" + place), home=shlex.quote(home))


def quoted(path: bytes) -> str:
    """For bash and zsh, in printable ASCII where the name is not plain text."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in path) + "'"
