"""What each verb asks of core and prints, with pipes and as JSON; and the exit code of each kind of trouble."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbd.messages import FailureView, GpusView, ImageView, LeaseView, NotebookView, Problem, ProfileView, Progress, RunView
from tests.fakes.nbctl_core import GIB, FakeCore, card, notebook
from tests.fakes.nbctl_runner import ROOT, Nbctl, me

PROFILES = (
    ProfileView("cpu-small", "Small", "2 CPUs for reading", "jupyter", "jupyter", 2, 4 * GIB, 0, "", available=True, reason=""),
    ProfileView("gpu-2", "Two GPUs", "", "jupyter", "jupyter", 8, 64 * GIB, 2, "2 GPUs", available=False, reason="1 of 2 cards is free"),
)
IMAGES = (
    ImageView("jupyter", "localhost/nbd-jupyter:1", present=True, size_bytes=GIB * 8 // 5, created=1_700_000_000.0, versions={"python": "3.11.2"}),
    ImageView("base", "localhost/nbd-base:1", present=False),
)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[FakeCore]:
    with FakeCore(tmp_path / "nbd.sock", me()) as core:
        core.profiles, core.images = PROFILES, IMAGES
        yield core


@pytest.fixture
def nbctl(core: FakeCore) -> Nbctl:
    return Nbctl(core.path)


def running(name: str = "train") -> NotebookView:
    now = time.time()
    return notebook(
        name,
        me(),
        state="RUNNING",
        sentence="It runs on NVIDIA RTX A4000.",
        gpus=("NVIDIA RTX A4000",),
        lease=LeaseView(("GPU-3f2a",), "exclusive", 0, now - 200),
        started=now - 200,
        run=3,
        phases={"image": 0.004, "ready": 0.95},
    )


def failed() -> NotebookView:
    why = "the editor ended before it was ready with exit code 1"
    failure = FailureView("editor_exited", why, "its last lines are below", ("Traceback:", "ImportError: no module"))
    return notebook("bad", me(), state="FAILED", sentence=why, hint="nbctl logs bad", ended=time.time() - 4000, run=1, failure=failure)


def test_ls_without_any_says_how_to_make_one(nbctl: Nbctl) -> None:
    ran = nbctl("ls")
    assert (ran.code, ran.out, ran.err) == (0, "", "no notebooks; make one: nbctl start\n")
    assert nbctl("ls", "--json").json == []


def test_ls_is_an_aligned_table_of_ones_own(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    core.put(failed())
    core.put(notebook("xl", "somebody-else"))
    ran = nbctl("ls")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "NAME   STATE      PROFILE  GPU               SINCE      WHY",
        "bad    ● FAILED   gpu-1                      1 h ago    the editor ended before it was ready with exit code 1",
        "train  ● RUNNING  gpu-1    NVIDIA RTX A4000  3 min ago",
    ]
    assert ran.err == ""
    assert "somebody-else/xl" in nbctl("ls", "--all").out
    assert nbctl("ls", "--names").out == "train\nbad\n"
    assert [row["name"] for row in nbctl("ls", "--json").json] == ["train", "bad"]
    assert nbctl("ls", "--json").json[0]["phases"] == {"image": 0.004, "ready": 0.95}


def test_show_tells_the_facts(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    core.runs = (RunView(1, time.time() - 9000, time.time() - 8000, "person"),)
    ran = nbctl("show", "train")
    assert ran.code == 0
    for told in ("RUNNING", "It runs on NVIDIA RTX A4000.", "exclusive", "image 4 ms, ready 950 ms", "http://", "16 min 40 s  person"):
        assert told in ran.out
    assert nbctl("show", "train", "--json").json["lease"]["cards"] == ["GPU-3f2a"]


def test_show_tells_a_failure_with_the_last_lines(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(failed())
    ran = nbctl("show", "bad")
    assert ran.code == 0
    assert "hint: nbctl logs bad" in ran.out
    assert "  | ImportError: no module" in ran.out


def test_a_name_of_another_person_is_one_segment_of_the_path(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(notebook("xl", "bob"))
    assert nbctl("show", "bob/xl").code == 0
    assert "/v1/notebooks/bob%2Fxl" in [asked.path for asked in core.asked]


@pytest.mark.parametrize("verb", ["show", "open", "logs", "stop"])
@pytest.mark.parametrize("name", ["nope", "", "..", "../etc", "a b?c#d", "x" * 300, "\udcff"])
def test_a_name_that_is_none_is_not_found(nbctl: Nbctl, verb: str, name: str) -> None:
    ran = nbctl(verb, name)
    assert ran.code == 4
    assert ran.err.startswith("nbctl: ")
    assert "\nhint: " in ran.err
    assert ran.out == ""


def test_rm_of_an_empty_name_asks_core_nothing(core: FakeCore, nbctl: Nbctl) -> None:
    assert nbctl("rm", "", "--yes").code == 4
    assert core.asked == []


def test_open_and_login_print_the_address_alone(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    ran = nbctl("open", "train")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("http://ntrai")
    assert ran.out.endswith("?ticket=abc\n")
    assert nbctl("login").out == "http://localhost:8080/enter?ticket=abc\n"
    assert set(nbctl("login", "--json").json) == {"url", "expires"}


def test_logs_are_the_last_lines_without_colours(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    core.log = ["one", "\x1b[32mtwo\x1b[0m", " 10%\r 99%\r100%", "b\x1b]0;pwn\x07ad"]
    assert nbctl("logs", "train", "-n", "3").out == "two\n100%\nb\\x1b]0;pwn\\x07ad\n"
    assert nbctl("logs", "train", "-n", "1", "--json").json == [{"line": "b\x1b]0;pwn\x07ad"}]


def test_profile_check_of_no_file(nbctl: Nbctl, tmp_path: Path) -> None:
    ran = nbctl("profile", "check", str(tmp_path / "absent.toml"))
    assert ran.code == 2
    assert ran.err.startswith(f"nbctl: there is no file {tmp_path}/absent.toml\nhint: ")


def test_no_logs_yet_are_no_empty_line(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    core.log = []
    ran = nbctl("logs", "train")
    assert (ran.code, ran.out, ran.err) == (0, "", "its editor has written nothing\n")
    assert nbctl("logs", "train", "--json").json == []


def test_gpus(core: FakeCore, nbctl: Nbctl) -> None:
    lost = card("GPU-9999beef-2", used_bytes=None, utilisation=None, temperature_celsius=None, power_watts=None, quarantine="it is lost since 14:02")
    core.gpus = GpusView((card("GPU-3f2a91bc-1", holders=("bob/train",)), lost), simulated=True, reason="", queue=("ann/x",))
    assert nbctl("gpus").out.splitlines() == [
        " SIMULATED GPUs: nbd plays these cards. Nothing computes on them. ",
        "CARD              UUID          MEMORY            USE   TEMP  POWER  HOLDER",
        "NVIDIA RTX A4000  GPU-3f2a91bc  9.0 of 16.0 GiB  87 %  64 °C  121 W  bob/train",
        "NVIDIA RTX A4000  GPU-9999beef  16.0 GiB                             quarantined",
        "GPU-9999beef is quarantined: it is lost since 14:02",
        "  hint: when it is well again: nbctl gpus --release GPU-9999beef",
        "queue: 1. ann/x",
    ]
    assert nbctl("gpus", "--json").json["simulated"] is True


def test_a_quarantine_is_ended_by_the_beginning_of_a_uuid(core: FakeCore, nbctl: Nbctl) -> None:
    core.gpus = GpusView((card("GPU-aaaa-1", quarantine="lost"), card("GPU-aaab-2")), simulated=False, reason="")
    assert nbctl("gpus", "--release", "GPU-aaa").code == 2
    assert nbctl("gpus", "--release", "GPU-zz").code == 4
    ran = nbctl("gpus", "--release", "GPU-aaaa")
    assert ran.code == 0
    assert "quarantined" not in ran.out
    assert core.asked[-1].path == "/v1/gpus/GPU-aaaa-1/release"


def test_a_box_without_a_gpu_says_why(nbctl: Nbctl) -> None:
    ran = nbctl("gpus")
    assert (ran.code, ran.out) == (0, "no NVIDIA driver on this machine\n")


def test_top_is_shown_once_where_nobody_watches(core: FakeCore, nbctl: Nbctl) -> None:
    core.put(running())
    assert "train" in nbctl("top").out
    assert set(nbctl("top", "--json").json) == {"gpus", "notebooks"}


def test_profiles(core: FakeCore, nbctl: Nbctl) -> None:
    assert nbctl("profile", "ls").out.splitlines() == [
        "PROFILE    TITLE     CPUS    MEMORY  GPU     NOW",
        "cpu-small  Small        2   4.0 GiB          free",
        "gpu-2      Two GPUs     8  64.0 GiB  2 GPUs  1 of 2 cards is free",
    ]
    assert "2 CPUs for reading" in nbctl("profile", "show", "cpu-small").out
    assert nbctl("profile", "show", "nope").code == 4
    assert nbctl("profile", "ls", "--names").out == "cpu-small\ngpu-2\n"
    assert nbctl("profile", "ls", "--json").json[1]["available"] is False


def test_a_profile_is_checked_without_a_daemon(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('titel = "x"\n')
    alone = Nbctl(tmp_path / "no.sock")
    ran = alone("profile", "check", str(file))
    assert ran.code == 2
    assert f"{file}:1" in ran.out
    assert alone("profile", "check", str(file), "--json").json["problems"]
    assert alone("profile", "check", str(tmp_path / "absent")).code == 2


def test_config_prints_the_settings_without_a_daemon(tmp_path: Path) -> None:
    ran = Nbctl(tmp_path / "no.sock")("config")
    assert ran.code == 0
    assert "[core]" in ran.out


def test_images(core: FakeCore, nbctl: Nbctl) -> None:
    ran = nbctl("image", "ls")
    assert ran.out.splitlines()[1] == "jupyter  present  1.6 GiB  2023-11-14  localhost/nbd-jupyter:1  python 3.11.2"
    assert ran.err == "hint: nbctl image build base\n"


def test_a_build_tells_each_step_and_then_the_image(core: FakeCore, nbctl: Nbctl) -> None:
    core.work = (Progress("base", "unpacking", 0.1), Progress("base", "unpacking", 0.9), Progress("pip", "jupyterlab"), {"done": True})
    ran = nbctl("image", "build", "jupyter", "--base", "debootstrap")
    assert ran.code == 0
    assert ran.err == "base: unpacking\npip: jupyterlab\n"
    assert "present" in ran.out
    assert core.asked[0].query == {"base": "debootstrap"}
    quiet = nbctl("image", "build", "jupyter", "--json")
    assert (quiet.json["name"], quiet.err) == ("jupyter", "")


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ({"error": Problem("build_failed", "step 3 failed", "see above")}, 1, "step 3 failed"),
        ({"error": Problem("not_found", "no image 'x'", "nbctl image ls")}, 4, "no image 'x'"),
        ({"error": Problem("refused", "admins only", "ask one")}, 3, "admins only"),
        (Progress("pip", "half"), 5, "broke off"),
    ],
)
def test_a_build_that_ends_badly(core: FakeCore, nbctl: Nbctl, last: object, code: int, said: str) -> None:
    core.work = (Progress("base", "unpacking"), last)
    ran = nbctl("image", "build", "jupyter")
    assert ran.code == code
    assert said in ran.err


def test_a_check_reports_what_an_image_can_do(core: FakeCore, nbctl: Nbctl) -> None:
    core.report = {"reference": "localhost/nbd-jupyter:1", "problems": [], "ready_seconds": 1.25, "tools": {"git": "2.39"}, "versions": {}, "log": []}
    ran = nbctl("image", "check", "jupyter")
    assert (ran.code, ran.out) == (0, "localhost/nbd-jupyter:1 is fit for use\n  editor answers  after 1.2 s\n  git             2.39\n")
    core.report = {**core.report, "problems": ["git is missing"], "tools": {"git": ""}, "log": ["one"]}
    ran = nbctl("image", "check", "jupyter")
    assert (ran.code, ran.out.splitlines()[:2]) == (1, ["git is missing", "  | one"])
    told = nbctl("image", "check", "jupyter", "--json")
    assert (told.code, told.json["problems"]) == (1, ["git is missing"])


def test_status_and_version(core: FakeCore, nbctl: Nbctl, tmp_path: Path) -> None:
    core.put(running())
    ran = nbctl("status")
    assert "1 running" in ran.out
    assert "podman  ok" in ran.out
    assert nbctl("status", "--json").json["person"]["name"] == me()
    assert nbctl("version").out.splitlines()[1].startswith("nbd   0.1.0 at ")
    alone = nbctl("--socket", str(tmp_path / "no.sock"), "version", "--json")
    assert (alone.code, alone.json["daemon"]) == (0, None)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "bad_name", 2),
        (401, "not_signed_in", 3),
        (403, "refused", 3),
        (404, "not_found", 4),
        (409, "no_capacity", 3),
        (409, "conflict", 1),
        (500, "internal", 1),
        (502, "start_failed", 1),
        (503, "host_unfit", 1),
        (503, "unreachable", 1),
        (504, "deadline", 1),
    ],
)
def test_each_kind_of_trouble_has_its_exit_code(core: FakeCore, nbctl: Nbctl, status: int, code: str, exit_code: int) -> None:
    core.problems["POST /v1/notebooks"] = (status, Problem(code, "it cannot be", "do this"))
    ran = nbctl("start")
    assert (ran.code, ran.out, ran.err) == (exit_code, "", "nbctl: it cannot be\nhint: do this\n")
    told = nbctl("start", "--json")
    assert (told.code, told.err) == (exit_code, "")
    assert told.json == {"error": {"code": code, "message": "it cannot be", "hint": "do this"}}


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ((), "nbctl --help"),
        (("sart",), "did you mean 'start'?"),
        (("start", "--gpus", "many"), "nbctl start --help"),
        (("start", "--gpus", "-1"), "nbctl start --help"),
        (("start", "--nope"), "nbctl --help"),
        (("show",), "nbctl show --help"),
        (("image", "build", "x", "--base", "registri"), "did you mean 'registry'?"),
        (("ls", "--timeout", "0"), "nbctl ls --help"),
    ],
)
def test_wrong_use_is_2_with_a_next_step(nbctl: Nbctl, argv: tuple[str, ...], hint: str) -> None:
    ran = nbctl(*argv)
    assert ran.code == 2
    assert ran.err.startswith("nbctl: ")
    assert ran.err.endswith(f"hint: {hint}\n")
    told = nbctl("--json", *argv)
    assert (told.code, told.json["error"]["code"]) == (2, "wrong_use")


def test_help_is_there_for_every_verb(nbctl: Nbctl) -> None:
    assert "start a notebook and wait until it runs" in nbctl("--help").out
    assert "-p, --profile PROFILE" in nbctl("start", "--help").out
    assert nbctl("profile", "check", "--help").code == 0


def test_it_starts_without_what_makes_a_start_slow() -> None:
    """Each of these costs 5 to 100 ms of every call."""
    slow = {"aiohttp", "asyncio", "email", "http.client", "logging", "pathlib", "ssl", "subprocess", "tempfile", "urllib.parse", "nbd.config"}
    ask = f"import sys, nbd.cli.nbctl; print(sorted(set(sys.modules) & {slow!r}))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {ask}"], capture_output=True, timeout=20, check=True
    )
    assert done.stdout == b"[]\n"
