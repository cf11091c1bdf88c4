"""The examples in the docstrings of all rooms run, and there are many of them."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("preprocessing", "training", "evaluation", "pathology", "retina", "workflows")
LEAST = 120
"""Examples (lines that a reader could type); today there are more."""


def with_examples() -> list[str]:
    files = [*ROOT.glob("offsite/*.py"), *ROOT.glob("offsite/tables/*.py")]
    files += [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    names = []
    for path in sorted(files):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if parts[0] == "offsite" else ("offsite", *parts)
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


MODULES = with_examples()


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=said.append)
    assert runner.tries > 0
    assert not said, "".join(said)


@pytest.mark.parametrize("room", [*ROOMS, "offsite"])
def test_every_room_has_examples(room: str) -> None:
    inside = [name for name in MODULES if room in (name.split(".")[1], name.split(".")[0])]
    assert inside


def test_examples_are_many() -> None:
    count = 0
    for name in MODULES:
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
            count += len(test.examples)
    assert count >= LEAST
