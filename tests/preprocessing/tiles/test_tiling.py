import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openslide
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.files import BOOKKEEPING, replacing
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.reading import read_tiles
from offsite.preprocessing.tiles.table import STATUSES, TileSettings, load_tiles, table_path
from offsite.preprocessing.tiles.tiling import TABLE, tile_cohort, tile_slide
from tests.preprocessing.synthetic.faulty_slides import FAULTS, make_faulty_slide, strike_tiles

TILES = TileSettings(tile_px=64)


@pytest.fixture(scope="module")
def tiled(cohort, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("tiled")
    return out, tile_cohort(cohort, out, TILES, workers=2)


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(BOOKKEEPING)
    }


def test_every_slide_has_its_row_tiles_and_pictures(cohort, tiled):
    out, table = tiled
    assert table["slide"].tolist() == cohort.table["slide"].tolist()
    assert (table["status"] == "done").all()
    assert (table["tiles_kept"] > 20).all()
    pd.testing.assert_series_equal(
        pd.read_csv(out / TABLE)["tiles_kept"], table["tiles_kept"], check_names=False
    )
    for slide in table["slide"]:
        assert (out / f"tiles/{slide}.thumbnail.png").is_file()
        assert (out / f"tiles/{slide}.mask.png").is_file()


def test_a_slide_leaves_alone_what_is_being_written_of_one_with_nearly_its_name(tmp_path):
    name = "Universitaetsklinikum-Pathologie-2021-Kolon-Biopsie-Block-0000"
    assert len(name) > 60
    with replacing(table_path(tmp_path, f"{name}1")) as temporary:
        temporary.write_bytes(b"tiles")
        tile_slide(tmp_path / "missing.svs", f"{name}2", tmp_path, TILES)
    assert table_path(tmp_path, f"{name}1").read_bytes() == b"tiles"


def test_the_ledger_counts_every_tile(tiled):
    out, table = tiled
    for slide in table["slide"]:
        tiles = load_tiles(out, slide)
        record = tiles.record
        assert set(record.counts) == {*STATUSES, "background"}
        columns = record.width // record.size
        rows = record.height // record.size
        assert sum(record.counts.values()) == columns * rows
        found = tiles.table["status"].value_counts().to_dict()
        assert found == {k: v for k, v in record.counts.items() if v and k != "background"}


def test_scanners_of_different_scale_give_tiles_of_the_same_size(tiled):
    _, table = tiled
    um = table["size"] * table["mpp"]
    assert (abs(um - 32.0) <= table["mpp"] / 2).all()
    assert table["mpp"].nunique() == 5
    np.testing.assert_allclose(table["actual_mpp"] * 64, um)


def test_tiles_lie_on_the_tissue_of_the_truth(cohort_file, tiled):
    out, table = tiled
    for slide in table["slide"]:
        truth = np.load(cohort_file.parent / f"truth/{slide}.npz", allow_pickle=False)["tissue"]
        tiles = load_tiles(out, slide)
        scale = tiles.record.mpp / 2.0
        errors = []
        for tile in tiles.table.itertuples():
            rows = slice(int(tile.y * scale), int((tile.y + tiles.record.size) * scale))
            columns = slice(int(tile.x * scale), int((tile.x + tiles.record.size) * scale))
            errors.append(abs(truth[rows, columns].mean() - tile.tissue))
        assert np.mean(errors) < 0.05


def test_read_tiles_gives_the_pixels_of_the_slide(cohort, tiled):
    out, table = tiled
    images = dict(zip(cohort.table["slide"], cohort.image_paths(), strict=True))
    for slide in table["slide"][:2]:
        tiles = load_tiles(out, slide)
        batches = list(read_tiles(images[slide], tiles, batch_size=16, threads=2))
        index = np.concatenate([batch.index for batch in batches])
        assert index.tolist() == list(range(tiles.record.kept))
        assert {batch.pixels.shape[1:] for batch in batches} == {(64, 64, 3)}
        size = tiles.record.size
        with openslide.OpenSlide(images[slide]) as record:
            x, y = (int(value) for value in batches[0].coords[3])
            native = np.asarray(record.read_region((x, y), 0, (size, size)))[..., :3]
        if size == 64:
            np.testing.assert_array_equal(batches[0].pixels[3], native)
        else:
            assert abs(batches[0].pixels[3].mean() - native.mean()) < 1.0


def test_both_readers_give_the_same_tiles_and_pixels(cohort, tmp_path):
    image, slide = cohort.image_paths()[0], cohort.table["slide"][0]
    whole = TILES.model_copy(update={"decoding": "full"})
    for reader in ("direct", "openslide"):
        out = tmp_path / reader
        tile_slide(image, slide, out, whole.model_copy(update={"reader": reader}))
    direct, record = (load_tiles(tmp_path / reader, slide) for reader in ("direct", "openslide"))
    assert (direct.record.reader, record.record.reader) == ("direct", "openslide")
    pd.testing.assert_frame_equal(direct.table, record.table)
    assert direct.record.tiles_digest == record.record.tiles_digest
    pairs = zip(
        read_tiles(image, direct, batch_size=64), read_tiles(image, record, batch_size=64),
        strict=True,
    )  # fmt: skip
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_table_is_refused_by_name_and_made_again(cohort, tiled, tmp_path, damage):
    slide = cohort.table["slide"][0]
    shutil.copytree(tiled[0] / "tiles", tmp_path / "tiles")
    file = table_path(tmp_path, slide)
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.write_bytes(whole[:middle] if damage == "cut" else changed)
    with pytest.raises(InputError, match=rf"{slide}\.parquet.*offsite workflow tile") as caught:
        load_tiles(tmp_path, slide)
    assert caught.value.code == "damaged_tiles"
    assert tile_slide(cohort.image_paths()[0], slide, tmp_path, TILES).status == "done"
    assert file.read_bytes() == whole


def test_nothing_is_done_twice_and_only_the_stale_is_done_again(cohort_file, tmp_path):
    folder = tmp_path / "cohort"
    shutil.copytree(cohort_file.parent, folder)
    cohort = load_cohort(folder / "cohort.csv")
    cohort = cohort.with_table(cohort.table.iloc[:3])
    out = tmp_path / "out"
    tile_cohort(cohort, out, TILES)
    stamps = {slide: table_path(out, slide).stat().st_mtime_ns for slide in cohort.table["slide"]}

    def redone() -> list[int]:
        return [
            number
            for number, slide in enumerate(cohort.table["slide"])
            if table_path(out, slide).stat().st_mtime_ns != stamps[slide]
        ]

    tile_cohort(cohort, out, TILES)
    assert redone() == []
    shutil.copy(cohort.image_paths()[0], cohort.image_paths()[1])  # a changed input
    table_path(out, cohort.table["slide"][2]).unlink()  # a lost output
    before = stamps[cohort.table["slide"][0]]
    tile_cohort(cohort, out, TILES)
    assert redone() == [1, 2]
    stricter = TILES.model_copy(update={"min_tissue": 0.9})
    tile_cohort(cohort, out, stricter)
    assert redone() == [0, 1, 2]
    assert table_path(out, cohort.table["slide"][0]).stat().st_mtime_ns > before


def test_an_override_of_the_scale_is_recorded_and_makes_the_slide_stale(cohort, tmp_path):
    image = cohort.image_paths()[0]
    first = tile_slide(image, "a", tmp_path, TILES)
    second = tile_slide(image, "a", tmp_path, TILES, mpp=0.25)
    assert (first.mpp_source, second.mpp_source) == ("openslide", "override")
    assert (first.size, second.size) == (64, 128)


def test_parts_together_equal_the_whole(cohort, tiled, tmp_path):
    _, whole = tiled
    parts = [tile_cohort(cohort, tmp_path, TILES, part=(number, 3)) for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [4, 3, 3]
    assert (tmp_path / "tiles.part-2-of-3.csv").is_file()
    together = pd.concat(parts).set_index("slide").loc[whole["slide"]].reset_index()
    pd.testing.assert_frame_equal(together[whole.columns], whole, check_dtype=False)
    with pytest.raises(InputError, match="part 4 of 3"):
        tile_cohort(cohort, tmp_path, TILES, part=(4, 3))


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_each_fault_has_its_status(fault, reader, picture, tmp_path):
    make_faulty_slide(tmp_path / "a.tiff", fault, picture, mpp=0.5)
    settings = TILES.model_copy(update={"reader": reader})
    record = tile_slide(tmp_path / "a.tiff", "a", tmp_path, settings)
    assert (record.status, record.code) == FAULTS[fault]
    if record.status == "failed":
        assert len(record.message) > 20
        with pytest.raises(InputError, match="failed"):
            load_tiles(tmp_path, "a")
    if fault == "sparse":
        assert record.counts["no_data"] > 0


def test_damaged_tiles_are_counted_and_never_painted_white(picture, tmp_path):
    path = tmp_path / "a.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", tile_px=64)
    clean = tile_slide(path, "clean", tmp_path, TILES)
    struck = strike_tiles(path, lambda stream, _: bytes(len(stream)), share=0.05, seed=3)
    record = tile_slide(path, "damaged", tmp_path, TILES)
    assert record.status == "done"
    table = load_tiles(tmp_path, "damaged").table
    across = -(-picture.shape[1] // 64)
    native = (table["y"] // 64 * across + table["x"] // 64).isin(struck)
    assert native.any()
    assert (table.loc[native, "status"] == "unreadable").all()
    assert record.counts["unreadable"] == native.sum()
    assert clean.kept - record.kept == (native & (load_tiles(tmp_path, "clean").table["status"] == "kept")).sum()  # fmt: skip


def test_tiles_that_break_after_tiling_are_yielded_as_unreadable(picture, tmp_path):
    path = tmp_path / "a.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", tile_px=64)
    tile_slide(path, "a", tmp_path, TILES)
    tiles = load_tiles(tmp_path, "a")
    strike_tiles(path, lambda stream, _: bytes(len(stream)), share=0.2, seed=3)
    batches = list(read_tiles(path, tiles, batch_size=32))
    read = np.concatenate([batch.index for batch in batches])
    lost = np.concatenate([batch.unreadable for batch in batches])
    assert len(lost) > 0
    assert sorted([*read, *lost]) == list(range(tiles.record.kept))
    assert all(len(batch.pixels) == len(batch.index) for batch in batches)


def test_forty_slides_of_which_ten_are_bad_end_as_forty_rows(cohort_file, picture, tmp_path):
    faults = [name for name, (status, _) in FAULTS.items() if status != "done"]
    rows = []
    for number in range(10):
        make_faulty_slide(
            tmp_path / f"bad{number}.tiff", faults[number % len(faults)], picture, mpp=0.5
        )
        rows.append(f"bad{number}.tiff")
    good = load_cohort(cohort_file).image_paths()[:3]
    for number in range(30):
        os.link(good[number % 3], tmp_path / f"good{number}.tiff")
        rows.insert(number + number // 3, f"good{number}.tiff")
    lines = [f"{name},p{number},s{number % 4},a" for number, name in enumerate(rows)]
    (tmp_path / "cohort.csv").write_text("\n".join(["image,patient,site,label", *lines]) + "\n")
    seen = []
    table = tile_cohort(
        load_cohort(tmp_path / "cohort.csv"), tmp_path / "out",
        TileSettings(tile_px=224, pictures=False), workers=2,
        progress=lambda record: seen.append(record.slide),
    )  # fmt: skip
    assert len(table) == len(seen) == 40
    good_rows = table["slide"].str.startswith("good")
    assert (table.loc[good_rows, "status"] == "done").all()
    assert (table.loc[~good_rows, "status"] != "done").all()
    assert (table.loc[~good_rows, "message"].str.len() > 0).all()
    assert table["slide"].tolist() == [Path(name).stem for name in rows]


def test_real_slides_become_rows(real_data, tmp_path):
    wsi = real_data / "wsi"
    expected = {
        "CMU-1-Small-Region.svs": ("done", ""),
        "CMU-1-Small-Region.jpeg.tiff": ("failed", "mpp_implausible"),
        "openslide_fixtures/small.svs": ("no_tissue", "smaller_than_a_tile"),
        "openslide_fixtures/boxes_0.dcm": ("no_tissue", "smaller_than_a_tile"),
        "openslide_fixtures/boxes.tiff": ("failed", "mpp_implausible"),
        "openslide_fixtures/unopenable.tiff": ("failed", "cannot_open"),
        "openslide_fixtures/unreadable.svs": ("failed", "unreadable_slide"),
        "unreadable/broken.svs": ("failed", "unsupported_format"),
        "unreadable/CMU-1-Small-Region.webp.tiff": ("failed", "mpp_implausible"),
    }
    for number, (name, outcome) in enumerate(expected.items()):
        record = tile_slide(wsi / name, f"s{number}", tmp_path, TileSettings())
        assert (record.status, record.code) == outcome, name
    for name in ("OS-1-detail", "OS-2-ndpi", "OS-2-vsi"):  # small pieces of tissue without glass
        record = tile_slide(wsi / f"unreadable/{name}.ome.tif", name, tmp_path, TileSettings())
        assert record.status in ("done", "no_tissue"), record.message
        assert (record.reader, record.mpp_source) == ("tiff", "ome")
    tiles = load_tiles(tmp_path, "s0")
    assert tiles.record.kept > 30
    assert tiles.record.actual_mpp == pytest.approx(0.5, rel=0.003)
    mended = tile_slide(
        wsi / "CMU-1-Small-Region.jpeg.tiff", "m", tmp_path, TileSettings(), mpp=0.499
    )
    assert mended.status == "done"
    assert mended.kept == tiles.record.kept


def test_a_slide_too_coarse_for_the_tiles_is_refused(real_data, tmp_path):
    record = tile_slide(
        real_data / "wsi/CMU-1-Small-Region.svs", "a", tmp_path, TileSettings(mpp=0.25)
    )
    assert (record.status, record.code) == ("failed", "resolution_too_low")


def test_artefacts_of_a_slide_show_in_its_counts(tmp_path):
    rates = {"pen_rate": 1.0, "fold_rate": 1.0, "blur_rate": 1.0}
    profile = SITES[3].model_copy(update=rates)
    settings = SyntheticSlideSettings(width_um=700, height_um=640)
    make_slide(
        tmp_path / "a.tiff", biology_seed=4, label="high_grade", profile=profile,
        settings=settings, truth=tmp_path / "truth.npz",
    )  # fmt: skip
    record = tile_slide(tmp_path / "a.tiff", "a", tmp_path, TILES)
    truth = np.load(tmp_path / "truth.npz", allow_pickle=False)
    table = load_tiles(tmp_path, "a").table
    scale = profile.mpp / 2.0
    share = {
        name: np.array(
            [
                truth[name][
                    int(tile.y * scale) : int((tile.y + record.size) * scale),
                    int(tile.x * scale) : int((tile.x + record.size) * scale),
                ].mean()
                for tile in table.itertuples()
            ]
        )
        for name in ("pen", "fold", "blur")
    }
    fit = table["status"].to_numpy() == "kept"
    assert share["pen"].max() > 0.5
    assert share["blur"].max() > 0.95
    assert not fit[share["pen"] > 0.3].any()
    assert (~fit[share["fold"] > 0.6]).mean() >= 0.9
    assert (~fit[share["blur"] > 0.95]).mean() >= 0.8
    clean = (share["pen"] == 0) & (share["fold"] == 0) & (share["blur"] == 0)
    assert fit[clean].mean() >= 0.95


_RUN = """
import sys
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_cohort
print("started", flush=True)
tile_cohort(load_cohort(sys.argv[1]), sys.argv[2], TileSettings(tile_px=64), workers=2,
            progress=lambda record: print(record.slide, flush=True))
"""


def _kill_and_finish(cohort_file: Path, out: Path, wait: float) -> int:
    """Kill a run some seconds after its start, finish it, return how many slides it had done."""
    command = [sys.executable, "-c", _RUN, str(cohort_file), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        done = len(process.stdout.read().splitlines())
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return done


def test_a_killed_run_ends_as_an_undisturbed_one(cohort_file, tiled, tmp_path):
    out, _ = tiled
    _kill_and_finish(cohort_file, tmp_path, 0.25)
    assert contents(tmp_path) == contents(out)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(cohort_file, tiled, tmp_path):
    out, _ = tiled
    generator = np.random.default_rng(0)
    done = []
    for number in range(20):
        folder = tmp_path / str(number)
        done.append(_kill_and_finish(cohort_file, folder, float(generator.uniform(0, 1.2))))
        assert contents(folder) == contents(out)
    assert len(set(done)) > 2  # the kills fell at different moments


def test_records_are_plain_json_without_paths_of_this_machine(tiled, cohort_file):
    out, table = tiled
    text = (out / f"tiles/{table['slide'][0]}.json").read_text()
    assert str(cohort_file.parent) not in text
    assert json.loads(text)["status"] == "done"
