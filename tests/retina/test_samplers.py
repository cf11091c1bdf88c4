"""The samplers of the settings draw photographs, as they draw bags."""

import numpy as np
import pytest

from offsite.retina.by_steps import batch_source
from offsite.retina.methods import method_named
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.settings import RetinaSettings

SAMPLERS = {
    "sites": {"by": "site", "exponent": 0.0},
    "sites of each class": {"kind": "class_aware", "cross_site": True},
    "patients": {"one_per_patient": True},
}


@pytest.fixture(scope="module")
def photographs(prepared):
    """Those of two sites, of which the second has a third as many; a patient has two of them."""
    split = prepared.split("corran")
    table = split.table.copy()
    train = table["split"] == "train"
    second = sorted(set(table.loc[train, "site"]))[1]
    table = table.drop(table.index[train & (table["site"] == second)][::3])
    table = table.drop(table.index[(table["split"] == "train") & (table["site"] == second)][::2])
    pairs = table.index[table["split"] == "train"]
    of_first = table.loc[pairs].groupby("site").cumcount() // 2
    table.loc[pairs, "patient"] = table.loc[pairs, "site"] + of_first.astype(str)
    return select_photographs(split.with_table(table), prepared.folder, 1.0)


@pytest.mark.parametrize("seen", SAMPLERS)
def test_the_samplers_of_the_settings_draw_photographs(photographs, seen):
    rows = photographs.rows("train")
    sites, labels = photographs.sites[rows], photographs.labels[rows]
    patients = photographs.table["patient"].to_numpy()[rows]
    assert np.bincount(sites).max() > 2 * np.bincount(sites).min()
    settings = RetinaSettings.model_validate(
        {"method": "erm", "batch_size": 10, "sampler": SAMPLERS[seen]}
    )
    plan = batch_source(method_named("erm"), photographs, settings).plan
    drawn = np.concatenate([np.concatenate(plan.batches(epoch)) for epoch in range(6)])
    if seen == "patients":
        first = np.concatenate(plan.batches(0))
        assert len(first) == len(set(patients[first])) == len(set(patients))
    elif seen == "sites":
        np.testing.assert_allclose(np.bincount(sites[drawn]) / len(drawn), 0.5, atol=0.1)
    else:
        both = [c for c in np.unique(labels) if len(set(sites[labels == c])) == 2]
        assert both
        for c in both:
            counts = np.bincount(sites[drawn][labels[drawn] == c], minlength=2)
            assert counts.max() - counts.min() <= 6
