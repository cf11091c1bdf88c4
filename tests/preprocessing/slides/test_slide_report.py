import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.slide_report import (
    acquisition_table,
    confounding_table,
    cramers_v,
    exclusion_table,
    stain_table,
)
from offsite.preprocessing.slides.compression import jpeg_quality, read_compression
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.synthetic.slides.writing import encode_tile
from offsite.preprocessing.tiles.table import TileSettings, load_record
from offsite.preprocessing.tiles.tiling import tile_cohort


@pytest.fixture(scope="module")
def tiled(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiled")
    slides = tile_cohort(cohort, out, TileSettings(tile_px=64, pictures=False))
    return cohort, slides, [load_record(out, slide) for slide in slides["slide"]]


def test_the_acquisition_of_each_site_is_told(tiled):
    _, slides, _ = tiled
    table = acquisition_table(slides).set_index("site")
    for profile in SITES:
        row = table.loc[profile.name]
        assert row["mpp_min"] == pytest.approx(profile.mpp, abs=1e-3)
        assert row["jpeg_quality_max"] == profile.jpeg_quality
        assert row["subsampling"] == profile.subsampling
        assert row["icc_share"] == 0
        assert abs(row["tile_um_min"] - 32) < 0.3
        assert (row["reader"], row["mpp_source"]) == ("direct", "openslide")
        assert row["slides"] == 2


def test_what_was_left_out_adds_up(tiled):
    _, slides, _ = tiled
    worse = slides.copy()
    worse.loc[0, ["status", "code"]] = ["failed", "mpp_missing"]
    worse.loc[
        0, [name for name in worse if name.startswith("tiles_") and name != "tiles_digest"]
    ] = 0
    table = exclusion_table(worse).set_index("site")
    row = table.loc[worse["site"][0]]
    assert (row["slides"], row["slides_done"], row["slides_failed"]) == (2, 1, 1)
    assert row["reasons"] == "mpp_missing"
    counts = slides["tiles_total"] - slides["tiles_background"]
    assert table["tiles_with_tissue"].sum() == counts[1:].sum()
    rates = table[[name for name in table if name.startswith("rate_")]].sum(axis=1)
    np.testing.assert_allclose(rates.astype(float), 1)


def test_a_site_without_tissue_has_no_rates():
    slides = pd.DataFrame(
        {"site": ["a"], "status": ["failed"], "code": ["cannot_open"], "tissue_mm2": [None]}
    )
    assert exclusion_table(slides)["rate_pen"].isna().all()


def test_the_stain_of_each_site_is_told(tiled):
    cohort, _, records = tiled
    sites = dict(zip(cohort.table["slide"], cohort.table["site"], strict=True))
    table = stain_table(sites, records).set_index("site")
    assert list(table.index) == sorted(profile.name for profile in SITES)
    for profile in SITES:
        row = table.loc[profile.name]
        assert row["slides_without_fit"] == 0
        assert np.abs(row[["white_r", "white_g", "white_b"]].to_numpy(float) - profile.white).max() <= 3  # fmt: skip
        found = row[["eosin_r", "eosin_g", "eosin_b"]].to_numpy(float)
        true = np.array(profile.eosin) / np.linalg.norm(profile.eosin)
        assert np.degrees(np.arccos(found @ true)) < 8
    assert table["haematoxylin_degrees"].max() > 4


def test_cramers_v_knows_none_and_all():
    generator = np.random.default_rng(0)
    site = pd.Series(generator.choice(list("abc"), 600))
    assert cramers_v(site, site)[0] == pytest.approx(1.0, abs=1e-9)
    value, p, _ = cramers_v(site, pd.Series(generator.choice(list("xy"), 600)))
    assert value is not None
    assert p is not None
    assert value < 0.12
    assert p > 0.01
    assert cramers_v(site, pd.Series(["x"] * 600)) == (None, None, "one of the two has a single value")  # fmt: skip


def test_a_site_that_tells_the_label_is_warned_of():
    patients = [f"p{number}" for number in range(60)]
    site = ["a"] * 30 + ["b"] * 30
    label = ["x"] * 27 + ["y"] * 3 + ["y"] * 27 + ["x"] * 3
    cohort = pd.DataFrame({"patient": patients, "site": site, "label": label})
    (row,) = confounding_table(cohort).to_dict("records")
    assert row["cramers_v"] == pytest.approx(0.8, abs=0.02)
    assert row["p"] < 1e-6
    assert "site alone tells" in row["warning"]
    many_slides = pd.concat([cohort] * 5)
    assert confounding_table(many_slides)["cramers_v"][0] == row["cramers_v"]  # counts patients
    fair = cohort.assign(label=["x", "y"] * 30)
    assert confounding_table(fair)["warning"][0] == ""


@pytest.mark.parametrize("quality", [30, 50, 75, 85, 95])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_the_quality_of_a_jpeg_is_read_from_its_table(quality, subsampling):
    tile = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert jpeg_quality(encode_tile(tile, quality, subsampling, "ycbcr")) == quality


def test_the_compression_of_real_slides_is_read(real_data):
    found = read_compression(str(real_data / "wsi/CMU-1-Small-Region.svs"), (2220, 2967))
    assert (found.name, found.native_tile, found.subsampling) == ("jpeg", (240, 240), "444")
    assert found.quality is not None
    assert 20 <= found.quality <= 95
    assert read_compression(str(real_data / "wsi/openslide_fixtures/boxes_0.dcm"), (16, 16)).name == ""  # fmt: skip
