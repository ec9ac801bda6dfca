"""The house rules, executable: ceilings, floors, one outside library a file, docs that say what the code does, no dead code, types, lint."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd import config, profiles
from nbd.notebooks import failure
from nbd.notebooks.model import MOVES

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "nbd").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FILE_LINES, FUNCTION_LINES, NESTING, PARAMETERS, METHODS = 400, 50, 3, 5, 20
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
PURE = ("notebooks/spec.py", "notebooks/reconcile.py", "notebooks/pull.py", "notebooks/failure.py", "notebooks/views.py", "gpus/allocate.py",
        "gpus/queue.py", "people/access.py", "homes/fitness.py", "homes/model.py", "homes/snapshots/encoding.py", "homes/snapshots/indexes.py",
        "homes/snapshots/chunks.py", "homes/snapshots/diff.py", "homes/snapshots/retention.py", "homes/guards.py", "homes/offline/spool.py",
        "homes/standing.py", "homes/keeping/duties.py", "notebooks/homecoming.py", "notebooks/tidings.py", "notebooks/figures.py",
        "homes/keeping/debounce.py", "homes/attached/model.py", "homes/attached/names.py", "homes/attached/plan.py", "homes/attached/url.py",
        "homes/attached/fit.py", "notebooks/attach.py", "attachments.py", "editors.py", "wire.py", "errors.py", "messages.py", "storemessages.py",
        "idlemessages.py", "keptmessages.py", "homes/sizes/usage.py", "homes/sizes/culprits.py", "homes/sizes/room.py", "homes/stores/layout.py",
        "homes/stores/policy.py", "homes/stores/bandwidth.py", "homes/stores/traffic.py", "host/storewords.py", "host/nvml_work.py",
        "values.py", "idle/model.py",
        "idle/evidence.py", "idle/judge.py", "idle/agenda.py", "idle/policy.py", "idle/preempt.py", "idle/history.py", "idle/replay.py",
        "idle/words.py",
        "notebooks/rest/park_plan.py", "notebooks/rest/freeze_plan.py", "host/cudawords.py")  # fmt: skip
IMPURE = {"asyncio", "os", "time", "logging", "threading", "subprocess", "socket", "random", "secrets", "aiohttp", "sqlite3"}
OUTSIDE = {"podman": "host/podman.py", "requests": "host/podman.py", "pynvml": "host/nvml_helper.py", "systemd": "host/systemd.py",
           "sqlite3": "host/database.py", "psutil": "host/limits.py", "yaml": "host/cdi.py",
           "obstore": "host/objectstore.py", "blake3": "host/codec.py", "zstandard": "host/codec.py", "cryptography": "host/codec.py",
           "fastcdc": "host/codec.py", "pathspec": "host/ignores.py", "watchdog": "host/inotify.py",
           "apscheduler": "host/timetable.py", "prometheus_client": "host/metrics.py"}  # fmt: skip
"""Each outside library, and the one file that may import it."""
FLOORS = (
    ("errors", "values"),
    ("wire", "messages", "idlemessages", "keptmessages", "homemessages", "storemessages", "attachments", "feed", "places", "unixdoor"),
    ("config", "editors"),
    ("gpus", "people", "homes", "idle"),
    ("profiles",),
    ("notebooks",),
    ("host",),
    ("api", "web", "cli"),
    ("coreidle",),
    ("core", "webdoor", "syncer"),
    ("dev",),
    ("__main__",),
)
"""From the ground up: a file imports only from its own floor and below. What stands side by side on a floor does not know its neighbours."""
CLIENTS = {"web", "cli", "webdoor"}
"""Speak to core over its socket, so they know its messages, the words for states, and nothing else of it."""
CLIENTS_KNOW = {
    "errors", "wire", "messages", "idlemessages", "homemessages", "keptmessages", "storemessages", "attachments", "unixdoor", "config", "profiles",
    "editors", "web", "cli",
}  # fmt: skip


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def depth(node: ast.AST, level: int = 0) -> int:
    """Deepest nesting of blocks; an `elif` is as deep as its `if`."""
    deepest = level
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                continue
            is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If) and len(node.orelse) == 1
            deepest = max(deepest, depth(child, level + (isinstance(child, BLOCKS) and not is_elif)))
    return deepest


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_ceilings(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= FILE_LINES
    for function in functions(tree):
        where = f"{name_of(path)}:{function.lineno} {function.name}"
        assert (function.end_lineno or 0) - function.lineno + 1 <= FUNCTION_LINES, f"{where}: too long"
        assert depth(function) <= NESTING, f"{where}: nested too deep"
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        counted = [argument for argument in arguments if argument.arg not in ("self", "cls")]
        assert len(counted) <= PARAMETERS or path in TESTS, f"{where}: too many parameters"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            assert len(methods) <= METHODS or path in TESTS, f"{name_of(path)}:{node.lineno} {node.name}: too many methods"


def imports_of(path: Path) -> set[str]:
    """Absolute dotted names of all that a module imports, in functions and for typing only too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found |= {f"{module}.{alias.name}" for alias in node.names} | ({module} if node.module else set())
    return found


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("nbd.")}


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py" or path.stat().st_size > 200], ids=name_of)
def test_imports_come_from_below(path: Path) -> None:
    room = path.relative_to(ROOT / "nbd").parts[0].removesuffix(".py")
    known = {name for rooms in FLOORS for name in rooms}
    for other in (rooms_of(path) & known) - {room}:
        assert floor(other) < floor(room) or (floor(other) == floor(room) == 1), f"{name_of(path)} imports {other}"
    if room in CLIENTS:
        strange = {name for name in imports_of(path) if name.startswith("nbd.") and not name.startswith("nbd.notebooks.model")}
        strange = {name.split(".")[1] for name in strange - {"nbd.notebooks"}} & known - CLIENTS_KNOW
        assert not strange, f"{name_of(path)} is a client and imports {strange}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_outside_libraries_have_one_door(path: Path) -> None:
    here = str(path.relative_to(ROOT / "nbd"))
    outside = {name.split(".")[0] for name in imports_of(path)}
    for library in outside & OUTSIDE.keys():
        assert here == OUTSIDE[library], f"{library} is imported in {here}"
    if "aiohttp" in outside or "jinja2" in outside:
        assert here.split("/")[0] in ("api", "web", "webdoor.py")


@pytest.mark.parametrize("name", PURE)
def test_decisions_do_no_io(name: str) -> None:
    assert {module.split(".")[0] for module in imports_of(ROOT / "nbd" / name)} & IMPURE == set()
    assert not [node for node in ast.walk(ast.parse((ROOT / "nbd" / name).read_text())) if isinstance(node, (ast.Await, ast.AsyncFunctionDef))]


def test_no_import_cycle() -> None:
    graph = {".".join(path.relative_to(ROOT).with_suffix("").parts): imports_of(path) for path in SOURCES}
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for other in graph[module] & graph.keys():
            if other != module:
                walk(other, (*trail, module))
        done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_tests_fake_the_far_end(path: Path) -> None:
    text = re.sub(r'"[^"\n]*"', "", path.read_text())
    assert not re.search(r"\b(Mock|MagicMock|AsyncMock)\(|\bpatch\(|monkeypatch\.setattr", text), "fakes the house, not the far end"


def test_settings_file_is_the_table() -> None:
    assert (ROOT / "config/nbd.toml").read_text() == config.reference(), "run: make config"
    assert config.parse(config.reference(), "config/nbd.toml") == config.defaults()


def test_shipped_profiles_are_right() -> None:
    assert sorted(profiles.read_profiles(ROOT / "config/profiles.d")) == ["cpu-large", "cpu-small", "gpu-1", "gpu-shared"]


def test_docs_say_what_the_code_does() -> None:
    profile_doc, states, failures = ((ROOT / "docs" / name).read_text() for name in ("profiles.md", "states.md", "failures.md"))
    for line in profiles.reference_text().splitlines():
        assert line in profile_doc, "run: make config"
    for state, moves in MOVES.items():
        for other in moves:
            assert f"{state} --> {other}" in states
    assert states.count("-->") == sum(len(moves) for moves in MOVES.values()) + 1, "run: make config"
    for code, meaning in failure.CODES.items():
        assert f"| `{code}` | {meaning}" in failures


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("tool", ["ruff check nbd tests", "mypy", "vulture"])
def test_tools(tool: str) -> None:
    result = run(*tool.split())
    assert result.returncode == 0, result.stdout + result.stderr
