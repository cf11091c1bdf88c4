"""A patient who is forgotten is in no page of slides."""

from types import SimpleNamespace

import pytest

from offsite.pathology.features.settings import FeatureSettings
from offsite.pathology.held_files import held_files
from offsite.preprocessing.tiles.page import PAGE, write_page
from tests.preprocessing.tiles.test_page import slide


@pytest.fixture
def job(tmp_path):
    for name in ("one & two", "three"):
        slide(tmp_path, name, statuses=["kept"])
    write_page(tmp_path, {"one & two": "north", "three": "north"})
    configuration = SimpleNamespace(features=FeatureSettings())
    return SimpleNamespace(output=tmp_path, configuration=configuration)


def test_the_page_and_the_picture_of_a_slide_are_found_and_removed(job):
    held = held_files(job, ["one & two"])
    found = {one.path.name for one in held}
    assert {PAGE, "one & two.tiles.jpg", "one & two.mask.png"} <= found
    for one in held:
        if one.remove is not None:
            one.remove()
    left = {path.name for path in job.output.rglob("*") if path.is_file()}
    assert not any("one & two" in name for name in left)
    assert PAGE not in left
    assert "three.tiles.jpg" in left


def test_a_page_that_shows_none_of_them_stays_and_one_that_was_changed_is_nobody_s(job):
    assert PAGE not in {one.path.name for one in held_files(job, ["four"])}
    (job.output / PAGE).write_text("mine")
    found = {one.path.name: one.remove for one in held_files(job, ["four"])}
    assert found[PAGE] is None
