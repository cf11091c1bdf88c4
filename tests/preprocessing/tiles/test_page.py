"""The page of a cohort's tiles: worst first, by colour, escaped, and as a browser shows it."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.preprocessing.tiles.page import PAGE, write_page
from offsite.preprocessing.tiles.pictures import picture_paths
from offsite.preprocessing.tiles.table import (
    KEPT,
    SlideRecord,
    SlideTiles,
    load_record,
    record_path,
    save_tiles,
)
from offsite.preprocessing.tiles.tile_pictures import (
    COLOURS,
    PANEL_PX,
    picture_path,
    save_tile_picture,
    tile_picture,
)
from offsite.written import write_own

CHROMIUM = Path("/usr/bin/chromium")
ATTACK = "<script>document.title='broken'</script>"
NAMES = {
    "all kept": (96, 64, [KEPT] * 6),
    "half & <b>pen": (64, 96, [KEPT] * 3 + ["pen"] * 3),
    "one'fold": (96, 64, [KEPT] * 5 + ["fold"]),
}


def slide(out, name, width=96, height=64, statuses=(), **changes):
    """A slide of 32-px tiles in rows, as tiling leaves it behind."""
    places = [(x, y) for y in range(0, height, 32) for x in range(0, width, 32)][: len(statuses)]
    table = pd.DataFrame(places, columns=["x", "y"]).assign(status=list(statuses))
    counts = {status: statuses.count(status) for status in set(statuses)}
    values = {
        "slide": name, "image": f"{name}.svs", "status": "done", "width": width, "height": height,
        "size": 32, "tile_px": 32, "counts": counts, "tissue_mm2": 2.5, **changes,
    }  # fmt: skip
    (out / "tiles").mkdir(exist_ok=True, parents=True)
    save_tiles(out, SlideTiles(table, SlideRecord(**values)))
    for path in picture_paths(out, name) if statuses else ():
        picture = np.full((height, width, 3), 220, np.uint8)
        write_own(path, bytes(cv2.imencode(".png", picture)[1]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    for name, (width, height, statuses) in NAMES.items():
        slide(out, name, width, height, statuses)
    slide(out, "empty", status="no_tissue", code="no_tissue", message="No tile holds enough tissue")
    slide(out, "damaged", status="failed", code="cannot_open", message=ATTACK)
    sites = dict.fromkeys([*NAMES, "empty", "damaged", "to come"], "north")
    write_page(out, sites | {"one'fold": ATTACK})
    return out


def test_a_tile_has_the_colour_of_what_became_of_it():
    table = pd.DataFrame({"x": [0, 96], "y": [0, 0], "status": [KEPT, "pen"]})
    record = SlideRecord(slide="a", image="a", status="done", width=192, height=96, size=96)
    picture = tile_picture(SlideTiles(table, record), None, None)
    assert picture.shape == (PANEL_PX // 2, 2 * PANEL_PX, 3)
    assert (picture[:, :PANEL_PX] == 255).all()
    for middle, status in ((PANEL_PX // 4, KEPT), (3 * PANEL_PX // 4, "pen")):
        expected = 0.6 * np.array(COLOURS[status]) + 0.4 * 255
        np.testing.assert_allclose(picture[PANEL_PX // 4, PANEL_PX + middle], expected, atol=1)


def test_slides_come_worst_first_and_names_are_text(made):
    text = (made / PAGE).read_text()
    order = ["damaged", "empty", "half &amp; &lt;b&gt;pen", "one&#39;fold", "all kept"]
    places = [text.index(f'data-slide="{name}"') for name in order]
    assert places == sorted(places)
    assert ATTACK not in text
    assert "1 more slide is not tiled yet" in text
    assert "<b>3 of 6 tiles kept</b> (50 %), 3 pen" in text
    assert "tiles/half%20%26%20%3Cb%3Epen.tiles.jpg" in text
    assert "failed: &lt;script&gt;" in text


def test_pictures_are_bounded_and_nobody_else_s_page_is_overwritten(made, tmp_path):
    for name in NAMES:
        assert picture_path(made, name).stat().st_size < 60_000
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / PAGE).write_text("mine")
    with pytest.raises(InputError) as caught:
        write_page(out, {"all kept": "north"})
    assert caught.value.code == "not_ours"
    assert (out / PAGE).read_text() == "mine"


def test_pictures_are_made_anew_for_the_slides_that_are_named(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    sites = dict.fromkeys(NAMES, "north")
    before = {name: picture_path(out, name).stat().st_mtime_ns for name in NAMES}
    write_page(out, sites, anew=["all kept"])
    after = {name: picture_path(out, name).stat().st_mtime_ns for name in NAMES}
    assert {name for name in NAMES if after[name] != before[name]} == {"all kept"}
    table = out / "tiles" / "all kept.parquet"
    table.unlink()
    write_page(out, sites)
    assert "6 of 6 tiles kept" in (out / PAGE).read_text()


def test_a_slide_without_thumbnail_shows_its_tiles(tmp_path):
    slide(tmp_path, "a", statuses=[KEPT, "pen"])
    for path in picture_paths(tmp_path, "a"):
        path.unlink()
    record = load_record(tmp_path, "a")
    assert record_path(tmp_path, "a").is_file()
    table = pd.read_parquet(tmp_path / "tiles/a.parquet")
    assert save_tile_picture(tmp_path, SlideTiles(table, record)) == (PANEL_PX, 320)
    write_page(tmp_path, {"a": "north"})
    assert "href=" not in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_filters_and_marks(made, width):
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(90_000)
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("request", lambda sent: faults.append(sent.url) if sent.url[:4] == "http" else None)
        page.goto((made / PAGE).as_uri())
        assert page.title() == "Tiles of 5 slides"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for image in page.locator("img").all():
            image.scroll_into_view_if_needed()
        page.wait_for_function("[...document.images].every(one => one.complete)")
        boxes = page.evaluate(
            "[...document.images].map(o => [o.naturalWidth, o.naturalHeight, o.width, o.height])"
        )
        assert len(boxes) == 8  # two halves each, but of the failed one
        for whole, high, wide, tall in boxes:
            assert whole / 2 / high == pytest.approx(wide / tall, abs=0.02)
        shown = "[...document.querySelectorAll('article')].filter(o => !o.hidden).map(o => o.dataset.slide)"
        page.select_option("#order", "fold")
        assert page.evaluate(shown)[0] == "one'fold"
        page.select_option("#site", ATTACK)
        assert page.evaluate(shown) == ["one'fold"]
        page.locator("article:not([hidden]) input").check()
        assert page.locator("#count").inner_text() == "1"
        assert faults == []
        browser.close()
