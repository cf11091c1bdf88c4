import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.retina.photographs.of_run import PixelStore, select_photographs
from offsite.retina.photographs.source import PhotographLoader
from offsite.training.samplers.plans import PlannedSource, RandomBatches


def test_what_takes_no_part_is_listed_with_code_and_message(prepared, tmp_path):
    folder = shutil.copytree(prepared.folder, tmp_path / "prepared")
    records = pd.read_csv(folder / "prepared.csv", dtype=str, keep_default_na=False)
    cohort = prepared.split("corran")
    chosen = cohort.table.loc[cohort.table["split"] == "train", "image"]
    lost, blurred = (records["image"] == image for image in chosen.head(2))
    records.loc[lost, ["status", "code", "message"]] = "failed", "no_field_of_view", "No disc."
    records.loc[blurred, ["gradable", "reasons"]] = "False", "blurred"
    records.to_csv(folder / "prepared.csv", index=False)

    photographs = select_photographs(cohort, folder, resident_gib=1)

    listed = photographs.excluded.set_index("image")[["status", "code", "message"]]
    assert listed.loc[chosen.iloc[0]].tolist() == ["not_prepared", "no_field_of_view", "No disc."]
    assert listed.loc[chosen.iloc[1]].tolist() == ["not_trained_on", "ungradable", "blurred"]
    assert len(listed) == 2
    assert photographs.table["image"].tolist() == [
        image for image in cohort.table["image"] if image != chosen.iloc[0]
    ]
    trained_on = photographs.table["image"].iloc[photographs.rows("train")]
    assert not set(chosen.head(2)) & set(trained_on)


def test_a_class_without_a_gradable_training_photograph_is_refused(prepared, tmp_path):
    folder = shutil.copytree(prepared.folder, tmp_path / "prepared")
    records = pd.read_csv(folder / "prepared.csv", dtype=str, keep_default_na=False)
    records.loc[records["label"] == "severe", ["gradable", "reasons"]] = "False", "blurred"
    records.to_csv(folder / "prepared.csv", index=False)
    with pytest.raises(InputError, match="class severe is gradable") as caught:
        select_photographs(prepared.split("corran"), folder, resident_gib=1)
    assert caught.value.code == "class_without_training"


def test_a_changed_picture_is_refused_by_name(prepared, tmp_path):
    folder = shutil.copytree(prepared.folder, tmp_path / "prepared")
    photographs = select_photographs(prepared.split("corran"), folder, resident_gib=1)
    one, other = photographs.store.files[:2]
    photographs.store.pixels(np.array([0]))
    shutil.copy(other, one)  # whole, and of the right size
    again = select_photographs(prepared.split("corran"), folder, resident_gib=0)
    with pytest.raises(InputError, match=rf"{one.name}.*offsite workflow prepare") as caught:
        again.store.pixels(np.array([0]))
    assert caught.value.code == "damaged_picture"


def epoch_peak(photographs, times):
    """Most bytes held while an epoch over ``times`` as many photographs is read."""
    rows = np.tile(photographs.rows("train"), times)
    plan = RandomBatches(len(rows), 8, 0)
    loader = PhotographLoader(photographs, rows, lambda pixels, seed: pixels, 0)
    source = PlannedSource(plan, loader.training_batch)
    tracemalloc.start()
    try:
        for _ in source.batches(0):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_an_epoch_does_not_grow_with_the_number_of_photographs(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, resident_gib=0)
    # The least of several: what Python allocates beside it comes and goes.
    few, many = (min(epoch_peak(photographs, times) for _ in range(4)) for times in (1, 12))
    held = 11 * len(photographs.rows("train")) * photographs.store.px**2 * 3
    assert many - few < 0.02 * held


def test_pictures_stay_in_memory_only_where_all_of_them_fit():
    files = [None] * 10
    assert PixelStore(files, 16, 10 * 16 * 16 * 3)._kept.nbytes == 10 * 16 * 16 * 3
    assert PixelStore(files, 16, 10 * 16 * 16 * 3 - 1)._kept.nbytes == 0


def seeds_seen(photographs, batches):
    """Row and seed of every picture that is augmented, in order, and the source's batches."""
    seen = []

    class Plan:
        def steps(self, epoch):
            return len(batches)

        def batches(self, epoch):
            return batches

    def augment(pixels, seed):
        seen.append(seed)
        return pixels

    rows = photographs.rows("train")
    source = PlannedSource(Plan(), PhotographLoader(photographs, rows, augment, 7).training_batch)
    return seen, source


def test_each_draw_of_a_photograph_is_augmented_by_its_seed(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, resident_gib=1)
    batches = [np.array([0, 1, 0]), np.array([0, 2])]
    seen, source = seeds_seen(photographs, batches)
    list(source.batches(0))
    first, one, second, third, two = seen
    assert len({first, second, third, one, two}) == 5
    seen.clear()
    list(source.batches(0, start=1))  # a resumed epoch sees what the whole one saw
    assert seen == [third, two]
    seen.clear()
    list(source.batches(1))
    assert first not in seen


def test_both_members_of_a_pair_are_augmented_alike(prepared):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, resident_gib=1)
    pairs = [np.array([[3, 3], [3, 4]]), np.array([[4, 3]])]
    seen, source = seeds_seen(photographs, pairs)
    list(source.batches(0))
    itself, third, partner_itself, fourth, anchor, partner = seen
    assert itself == partner_itself
    assert len({itself, third, fourth, anchor, partner}) == 5
    alone, source = seeds_seen(photographs, [pair[:, 0] for pair in pairs])
    list(source.batches(0))
    assert alone == [itself, third, anchor]  # anchors are seen as they are without partners
