"""A slide is what the model knows of it: stored anew it is answered alike."""

import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from tests.workflows.conftest import SlideRun

ANEW = {
    "generic.tiff": {"flavour": "generic", "quality": 80},
    "rgb.svs": {"quality": 80, "photometric": "rgb", "shared_tables": True, "tile_px": 240},
}
SLIDES = 5


@pytest.fixture(scope="module")
def answers(slide_run: SlideRun, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What is said of slides of the training sites, as they are and stored anew."""
    folder = tmp_path_factory.mktemp("anew")
    cohort = pd.read_csv(slide_run.cohort)
    known = pd.read_parquet(slide_run.run / "predictions.parquet")
    of_training = known[(known["site_role"] == "training") & (known["split"] != "train")]
    rows = cohort.set_index("image").loc[of_training["image"].iloc[:SLIDES]].reset_index()
    asked = []
    for number, row in rows.iterrows():
        path = slide_run.cohort.parent / row["image"]
        with open_slide(path) as slide:
            pixels, mpp = slide.read_region(0, 0, 0, *slide.dimensions).pixels, slide.mpp
        files = {"as it is": path}
        for name, how in ANEW.items():
            files[name] = folder / f"{number}-{name}"
            write_slide(files[name], pixels, mpp=mpp, **how)
        asked += [
            {"image": str(file), "patient": f"{number}", "site": row["site"], "what": what}
            for what, file in files.items()
        ]
    table = pd.DataFrame(asked)
    table.to_csv(folder / "asked.csv", index=False)
    options = BatchOptions(output=folder / "out", workers=1)
    predict([folder / "asked.csv"], str(slide_run.package), options, device="cpu")
    found = pd.read_csv(folder / "out" / "results.csv", encoding="utf-8-sig", keep_default_na=False)
    return found.assign(what=table["what"].to_numpy())


@pytest.mark.parametrize("what", list(ANEW))
def test_a_slide_stored_anew_gets_the_same_decision(answers: pd.DataFrame, what: str) -> None:
    before, after = (answers[answers["what"] == which] for which in ("as it is", what))
    assert (before["status"] != "error").all()
    assert after["decision"].tolist() == before["decision"].tolist()
    names = [name for name in answers.columns if name.startswith("prob_")]
    moved = after[names].astype(float).to_numpy() - before[names].astype(float).to_numpy()
    assert np.abs(moved).max() < 0.03
