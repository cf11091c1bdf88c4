"""The front door: what completion shows, and what opening it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import offsite
from offsite.errors import InputError

HEAVY = ("torch", "pandas", "matplotlib", "numpy", "cv2", "mlflow", "scipy", "openslide")


def modules_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(found.stdout.split())


def test_importing_offsite_loads_nothing_heavy() -> None:
    loaded = modules_after("import offsite")
    assert "offsite" in loaded
    assert not loaded & set(HEAVY)
    assert {name for name in loaded if name.startswith("offsite.")} == set()


def test_a_slide_is_opened_without_torch_or_matplotlib() -> None:
    loaded = modules_after("import offsite; offsite.open_slide")
    assert "openslide" in loaded
    assert not loaded & {"torch", "matplotlib", "mlflow"}


def test_an_error_can_be_caught_before_anything_is_loaded() -> None:
    assert not modules_after("import offsite; offsite.InputError") & set(HEAVY)
    assert offsite.InputError is InputError


def test_completion_shows_the_public_names_and_each_is_there() -> None:
    assert dir(offsite) == sorted([*offsite.__all__, "__version__"])
    assert len(offsite.__all__) <= 12
    for name in offsite.__all__:
        thing = getattr(offsite, name)
        assert thing.__doc__, name
        assert thing.__name__ == name


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evaluation_of'"):
        offsite.evaluation_of  # noqa: B018


def test_type_checkers_read_the_names_from_where_they_are_loaded() -> None:
    body = ast.parse(Path(offsite.__file__).read_text(encoding="utf-8")).body
    shown = next(node for node in body if isinstance(node, ast.If))
    assert isinstance(shown.test, ast.Name)
    assert shown.test.id == "TYPE_CHECKING"
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in shown.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {name: f"{getattr(offsite, name).__module__}.{name}" for name in offsite.__all__}
    assert seen == loaded
    assert (Path(offsite.__file__).parent / "py.typed").is_file()
