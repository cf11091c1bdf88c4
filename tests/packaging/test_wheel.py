"""What is installed works beside other people's names: run by ``make wheel`` alone.

A fresh environment gets the wheel, and a package that owns a top-level ``workflows``; the working
directory holds the user's folder ``evaluation/``. offsite's dependencies are those of the
environment that runs the tests, offsite itself is not: that one is linked to the sources.
"""

import email
import os
import subprocess
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEIGHBOUR = "llama-index-workflows"

pytestmark = [
    pytest.mark.skipif(os.environ.get("OFFSITE_WHEEL") != "1", reason="make wheel runs it"),
    pytest.mark.timeout(1800),
]


def run(*command: str | Path, cwd: Path, timeout: float = 900) -> str:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    ended = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=timeout,
        env={name: value for name, value in os.environ.items() if name not in hidden},
    )  # fmt: skip
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of the sources, the sdist, and the wheel of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    builder = folder / "builder"
    venv.create(builder, with_pip=True)
    run(builder / "bin/pip", "install", "-q", "hatchling", cwd=folder)
    python = builder / "bin/python"
    run(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=ROOT)
    sdist = next((folder / "dist").glob("*.tar.gz"))
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w",
        folder / "again", sdist, cwd=folder)  # fmt: skip
    return {
        "wheel": next((folder / "dist").glob("*.whl")),
        "sdist": sdist,
        "again": next((folder / "again").glob("*.whl")),
    }


@pytest.fixture(scope="module")
def python(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, then the neighbour."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    found = folder / "bin/python"
    site = run(found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # A plain path: the .pth files in there, and so the sources, are not followed from here.
    (Path(site.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(found, "-m", "pip", "install", "-q", "--no-deps", built["wheel"], cwd=folder)
    run(found, "-m", "pip", "install", "-q", NEIGHBOUR, cwd=folder)
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with folders that have the names of rooms."""
    folder = tmp_path_factory.mktemp("desk")
    for room in ("evaluation", "training"):
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text("raise RuntimeError('of the user')")
    return folder


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_one_top_level_name(built: dict[str, Path]) -> None:
    names = set(content(built["wheel"]))
    assert {name.split("/")[0] for name in names} == {
        "offsite", f"offsite-{version('offsite')}.dist-info",
    }  # fmt: skip
    assert {"offsite/py.typed", "offsite/workflows/pipeline/Snakefile"} <= names


def test_the_wheel_holds_every_file_of_the_rooms(built: dict[str, Path]) -> None:
    listed = run("git", "ls-files", "offsite", "preprocessing", "training", "evaluation",
                 "pathology", "retina", "workflows", cwd=ROOT).split()  # fmt: skip
    tracked = {
        name if name.startswith("offsite/") else f"offsite/{name}"
        for name in listed
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink()
    }
    packed = {name for name in content(built["wheel"]) if name.startswith("offsite/")}
    assert tracked <= packed
    assert {name for name in packed - tracked if name.endswith((".py", ".smk"))} == set()


def test_the_wheel_of_the_sdist_is_the_same(built: dict[str, Path]) -> None:
    assert content(built["again"]) == content(built["wheel"])


def test_the_sources_are_not_what_runs(python: Path, desk: Path) -> None:
    found = run(python, "-c", "import offsite; print(offsite.__file__)", cwd=desk).strip()
    assert Path(found).is_relative_to(python.parents[1])


def test_the_neighbour_has_kept_its_name(python: Path, desk: Path) -> None:
    found = run(python, "-c", "import workflows; print(workflows.__file__)", cwd=desk).strip()
    owner = run(python, "-m", "pip", "show", "-f", NEIGHBOUR, cwd=desk)
    assert Path(found).parent.name == "workflows"
    assert "workflows/__init__.py" in owner
    fields = email.message_from_string(owner.split("Files:")[0])
    assert fields["Name"].replace("_", "-") == NEIGHBOUR


@pytest.mark.parametrize("call", [("-m", "offsite"), ("offsite",)], ids=["module", "command"])
def test_the_command_runs_among_folders_of_the_same_names(
    python: Path, desk: Path, call: tuple[str, ...]
) -> None:
    program = (python, *call) if call[0] == "-m" else (python.parent / call[0],)
    assert version("offsite") in run(*program, "--version", cwd=desk)
    assert "evaluate" in run(*program, "--help", cwd=desk)


def test_a_spawned_process_finds_the_package(python: Path, desk: Path) -> None:
    (desk / "spawning.py").write_text(
        "from multiprocessing import get_context\n"
        "from offsite.preprocessing.slides.geometry import choose_level\n"
        "if __name__ == '__main__':\n"
        "    with get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(choose_level, (0.25, (1.0, 4.0), 1.0)))\n"
    )
    assert run(python, "spawning.py", cwd=desk).strip() == "1"


def test_the_first_stage_of_the_demo_runs_under_the_workflow(python: Path, desk: Path) -> None:
    (desk / "small_demo.py").write_text(
        "from pathlib import Path\n"
        "from offsite.workflows.demo import pathology\n"
        "few = {'patients': 16, 'slides_per_patient': (1, 1)}\n"
        "pathology.COHORT = pathology.COHORT.model_copy(update=few)\n"
        "pathology.write_demo(Path('demo'))\n"
    )
    run(python, "small_demo.py", cwd=desk)
    run(python, "-m", "offsite", "workflow", "run", "demo/pathology.yaml", "--",
        "workflow/tile.done", cwd=desk)  # fmt: skip
    rows = (desk / "demo/results/tiles.csv").read_text().splitlines()
    assert len(rows) == 17
