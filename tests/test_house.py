"""The house stands: one package, one name for each module, nothing that goes round in a circle."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("preprocessing", "training", "evaluation", "pathology", "retina", "workflows")
LONGEST = 300


def sources(*folders: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in sorted(set(listed.stdout.split("\n"))) if name]


def imported(path: Path) -> set[str]:
    """The modules that a file imports, `from a import b` as both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_nothing_imports_a_room_by_its_bare_name() -> None:
    python = [path for path in sources("*.py") if path.exists()]
    assert len(python) > 300
    bare = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in python for name in imported(path) if name.split(".")[0] in ROOMS
    }  # fmt: skip
    rule = re.compile(rf"^\s*(from|import) ({'|'.join(ROOMS)})\b", re.MULTILINE)
    for path in sources("*.smk", "*Snakefile", "*.md"):
        if rule.search(path.read_text(encoding="utf-8")):
            bare.add(str(path.relative_to(ROOT)))
    assert not bare


def test_no_module_of_the_rooms_is_longer_than_one_subject() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in sources("offsite/*.py", *(f"{room}/*.py" for room in ROOMS)) if path.exists()
    }  # fmt: skip
    assert len(lengths) > 300
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def arrows_between_modules() -> dict[str, set[str]]:
    modules = {
        "offsite." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sources(*(f"{room}/*.py" for room in ROOMS)) if path.exists()
    }  # fmt: skip
    return {name: imported(path) & modules.keys() - {name} for name, path in modules.items()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = arrows_between_modules()
    done: set[str] = set()

    def follow(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(arrows[name]):
                follow(other, (*trail, name))
            done.add(name)

    for name in arrows:
        follow(name, ())


def test_no_two_folders_of_a_room_import_each_other() -> None:
    def folder(module: str) -> str:
        return ".".join(module.split(".")[:3])

    between = {
        (folder(name), folder(other))
        for name, others in arrows_between_modules().items() for other in others
        if folder(name) != folder(other)
    }  # fmt: skip
    assert len(between) > 100
    assert [(a, b) for a, b in sorted(between) if a < b and (b, a) in between] == []


def test_the_layers_are_kept_without_an_exception() -> None:
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_says_what_it_holds_and_runs_nothing(room: str) -> None:
    for folder in {path.parent for path in sources(f"{room}/*.py") if path.exists()}:
        body = ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
        assert len(body) == 1, folder
        assert isinstance(body[0], ast.Expr), folder
