"""The pictures of the architecture are those of the code, and say what the imports say."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs/architecture_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_those_of_the_code(picture):
    drawn = picture.pictures()
    kept = {path.name: path.read_text("utf-8") for path in picture.PICTURES.glob("*.svg")}
    stale = [name for name in drawn.keys() | kept.keys() if drawn.get(name) != kept.get(name)]
    assert not stale, "run `make pages`"


def test_every_folder_of_a_room_is_in_its_picture(picture):
    for room in picture.ROOMS:
        root = ElementTree.fromstring(picture.pictures()[f"{room}.svg"])
        labels = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        folders = {
            f"{path.parent.name}/"
            for path in (ROOT / room).glob("*/*.py")
            if path.stem != "__init__"
        }
        assert folders <= labels
        for path in (ROOT / room).glob("*.py"):
            assert path.name == "__init__.py" or path.name in labels


def test_an_arrow_that_follows_from_others_is_left_out(picture):
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert picture.needed(arrows) == arrows - {("a", "c")}


def test_a_circle_is_broken_at_its_lightest_arrow_and_shown(picture):
    arrows = Counter({("a", "b"): 5, ("b", "c"): 4, ("c", "a"): 1})
    assert picture.without_circles(arrows) == {("a", "b"), ("b", "c")}
    assert picture.draw({"a", "b", "c"}, arrows, set()).count("stroke-dasharray") == 1


def test_labels_cannot_break_the_picture(picture):
    ElementTree.fromstring(picture.draw({"<a&b>", "c"}, Counter({("<a&b>", "c"): 1}), set()))
