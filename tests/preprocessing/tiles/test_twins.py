"""Tiles of twins lie at the same places in um, however the scanners' grids drift apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.slides.geometry import lay_tiles
from offsite.preprocessing.tiles.table import SlideRecord, SlideTiles, load_tiles, save_tiles
from offsite.preprocessing.tiles.twins import match_twins, matched_tiles

SIDE_UM = 6000


def slide(name: str, mpp: float, bounds: tuple[int, int] = (0, 0)) -> SlideTiles:
    """A slide that is tissue throughout."""
    side = round(SIDE_UM / mpp)
    grid = lay_tiles((side, side), (1.0, 4.0), mpp, tile_px=128, wanted_mpp=0.5)
    x, y = (values.ravel() for values in np.meshgrid(*grid.origins()))
    table = pd.DataFrame({"x": x + bounds[0], "y": y + bounds[1], "status": "kept"})
    record = SlideRecord(
        slide=name, image=f"{name}.svs", status="done", mpp=mpp, size=grid.size,
        stride=grid.stride, width=side + bounds[0], height=side + bounds[1],
        bounds_offset=bounds, tile_px=128, level=0, read_px=grid.read_px,
        downsample=1.0, counts={"kept": len(table)},
    )  # fmt: skip
    return SlideTiles(table, record)


def centres(tiles: SlideTiles) -> np.ndarray:
    record = tiles.record
    corners = tiles.kept()[["x", "y"]].to_numpy() - np.array(record.bounds_offset)
    return (corners + record.size / 2) * record.mpp


def test_places_agree_within_half_a_px_where_the_grids_have_drifted_apart() -> None:
    slides = [slide("a", 0.499), slide("b", 0.345), slide("c", 0.2635, bounds=(300, 700))]
    drift = np.abs(centres(slides[0])[:4000] - centres(slides[1])[:4000]).max()
    assert drift > 20  # um: the slides' own tiles do not show the same tissue
    matched = matched_tiles(slides, most=10**6)
    assert len({len(tiles.table) for tiles in matched}) == 1
    assert len(matched[0].table) > 0.95 * len(slides[0].table)
    for other in matched[1:]:
        assert np.abs(centres(matched[0]) - centres(other)).max() <= (0.499 + 0.345) / 2


def test_a_place_counts_only_where_every_twin_has_a_fit_tile() -> None:
    whole, holed = slide("a", 0.499), slide("b", 0.345)
    table = holed.table.copy()
    table.loc[table["x"] < SIDE_UM / 2 / 0.345, "status"] = "blurred"
    matched = matched_tiles([whole, replace(holed, table=table)], most=10**6)
    share = len(matched[0].table) / len(whole.table)
    assert share == pytest.approx(0.5, abs=0.02)
    assert centres(matched[0])[:, 0].min() > SIDE_UM / 2 - 64


def test_at_most_so_many_places_are_spread_over_all_of_them() -> None:
    matched = matched_tiles([slide("a", 0.499), slide("b", 0.345)], most=50)
    found = centres(matched[1])
    assert len(found) == 50
    assert found[:, 1].min() < 100
    assert found[:, 1].max() > SIDE_UM - 200
    assert matched[1].record.kept == 50
    assert matched[0].record.tiles_digest != matched[1].record.tiles_digest != ""


def cohort(names: list[str], twin: list[str] | None, sites: list[str]) -> Cohort:
    table = pd.DataFrame({"slide": names, "site": sites, "label": ""})
    if twin is not None:
        table["twin"] = twin
    return Cohort(table=table, classes=(), path=Path("cohort.csv"))


def test_every_slide_has_a_row_with_its_places_or_the_reason(tmp_path: Path) -> None:
    for tiles in (slide("a", 0.499), slide("b", 0.345), slide("c", 0.5)):
        save_tiles(tmp_path / "own", tiles)
    both = cohort(
        ["a", "c", "b", "d"], ["t1", "t2", "t1", "t2"], ["north", "north", "east", "east"]
    )
    rows = match_twins(both, tmp_path / "own", tmp_path / "matched", most=20)
    assert rows["slide"].tolist() == ["a", "c", "b", "d"]
    assert rows["places"].tolist() == [20, 0, 20, 0]
    assert rows["reason"].tolist() == [
        "", "no other twin has tiles", "", "slide 'd' has not been tiled",
    ]  # fmt: skip
    assert len(load_tiles(tmp_path / "matched", "b").kept()) == 20


@pytest.mark.parametrize(
    ("twin", "sites"),
    [(None, ["x", "y"]), (["t", "t"], ["x", "x"]), (["t", "u"], ["x", "y"])],
    ids=["no column", "a site shows a tissue twice", "nothing is shown twice"],
)
def test_a_cohort_without_twins_is_refused(twin: list[str] | None, sites: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        match_twins(cohort(["a", "b"], twin, sites), "own", "matched")
    assert refused.value.code == "no_twins"
