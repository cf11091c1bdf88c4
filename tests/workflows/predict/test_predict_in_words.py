"""Slides told in the words of a package: their shares, what the answer rests on, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.special import logsumexp

from offsite.pathology.features.file import read_features
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.prediction.words import answer_in_words
from offsite.pathology.vocabulary.words import TELLING, Vocabulary, fit_vocabulary
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.schema import WordsOfModel
from offsite.workflows.package.verification import CONTENT, SUMS, ModelRefused
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict, predictor_for
from tests.workflows.conftest import SlideRun

NAMES = ("", "glands", "<b>fat</b>", "", "=2+3")


@pytest.fixture(scope="module")
def tiles(slide_run: SlideRun) -> dict[str, np.ndarray]:
    """The features of the run's slides, as they are kept."""
    files = sorted((slide_run.run.parent / "features").glob("*.h5"))
    return {file.stem: read_features(file).features for file in files}


@pytest.fixture(scope="module")
def words(tiles: dict[str, np.ndarray]) -> Vocabulary:
    rows = np.concatenate(list(tiles.values())).astype(np.float64)
    wide = rows.shape[1]
    found = fit_vocabulary(rows, np.zeros((wide, wide)), len(NAMES))
    return Vocabulary.from_arrays(found.arrays(), wide)


def with_words(package: Package, folder: Path, words: Vocabulary, names: tuple[str, ...]) -> Path:
    told = WordsOfModel(names=names, kept=0.62, judged=9)
    arrays = {f"words/{name}": words.arrays()[name] for name in TELLING}
    record = package.record.model_copy(update={"words": told})
    return write_package(folder, record, package.weights, {**package.reference, **arrays})


def test_a_slide_is_told_in_words_and_the_package_holds_no_picture(
    slide_run: SlideRun, tiles: dict[str, np.ndarray], words: Vocabulary, tmp_path: Path
) -> None:
    made = with_words(load_package(slide_run.package), tmp_path / "package", words, NAMES)
    assert {path.name for path in made.iterdir()} == {*CONTENT, SUMS}
    assert (
        "5, 3 of them named; they keep 62% of the log-odds of 9 images"
        in (made / "card.md").read_text()
    )
    cohort = pd.read_csv(slide_run.cohort, dtype=str).iloc[:2]
    cohort["image"] = [str(slide_run.cohort.parent / image) for image in cohort["image"]]
    cohort.drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "text.svs").write_text("no slide")
    names = [tmp_path / "new.csv", tmp_path / "text.svs"]
    options = BatchOptions(output=tmp_path / "out", workers=1)
    predict(names, str(made), options, device="cpu")
    table = pd.read_csv(tmp_path / "out" / "results.csv", encoding="utf-8-sig")
    model = load_slide_model(
        slide_run.run / "weights.safetensors", load_package(made).record.architecture.settings
    )
    shares = [f"share_{number:02d}" for number in range(1, 6)]
    for slide, row in zip(cohort["slide"], table.to_dict("records"), strict=False):
        of, rows = words.of(tiles[slide]), tiles[slide]
        np.testing.assert_allclose([row[name] for name in shares], words.shares(rows), atol=1e-6)
        record = json.loads((tmp_path / "out" / "cases" / row["case"] / "case.json").read_text())
        whole = predict_bag(model, rows).logits.astype(float)
        called = whole.argmax()
        odds = lambda z: z[called] - logsumexp(np.delete(z, called))  # noqa: B023, E731
        for word, fall in enumerate(record["words"]["falls"]):
            if not 0 < (of == word).sum() < len(of):
                assert fall is None
                continue
            left = predict_bag(model, rows[of != word]).logits.astype(float)
            assert fall == pytest.approx(odds(whole) - odds(left), abs=1e-4)
        falls = [fall or 0.0 for fall in record["words"]["falls"]]
        most = int(np.argmax(falls))
        assert row["rests_on"].startswith(f"{most + 1:02d} {NAMES[most]}".strip())
        assert row["rests_on"].count(";") <= 2
        page = (tmp_path / "out" / "cases" / row["case"] / "index.html").read_text()
        assert "In tissue words" in page
        assert "<b>fat" not in page
        assert "62 % of this model" in page
    assert pd.isna(table[[*shares, "rests_on"]].iloc[2]).all()


def test_a_package_without_words_has_no_columns_of_them(slide_run: SlideRun) -> None:
    package = load_package(slide_run.package)
    text = (slide_run.package / "model.json").read_text()
    assert package.record.words is None
    earlier = json.loads(text)
    del earlier["words"]  # as packages of before were written
    assert type(package.record).model_validate(earlier) == package.record


def test_of_a_patient_a_word_is_taken_out_of_all_slides() -> None:
    words = Vocabulary(np.zeros(2), np.eye(2), np.eye(2), np.empty((0, 2)))
    slides = [np.array([[1.0, 0], [1, 0], [0, 1]]), np.array([[1.0, 0]])]
    told = answer_in_words(words, slides, lambda parts: np.array([sum(map(len, parts)), 0.0]))
    np.testing.assert_allclose(told.shares, [2 / 3, 1 / 3])  # of the slide that is asked about
    np.testing.assert_allclose(told.falls, [3, 1])


def test_words_that_are_not_as_the_package_says_are_refused(
    slide_run: SlideRun, words: Vocabulary, tmp_path: Path
) -> None:
    package = load_package(slide_run.package)
    fewer = with_words(package, tmp_path / "fewer", words, NAMES[:4])
    with pytest.raises(ModelRefused, match="names 4 words"):
        load_package(fewer)
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.5"):
        WordsOfModel(names=NAMES, kept=0.49, judged=9)
    narrow = Vocabulary(words.centre[:-1], words.reader[:-1], words.places, words.means)
    other = with_words(package, tmp_path / "other", narrow, NAMES)
    with pytest.raises(ModelRefused, match="not of words of such tiles"):
        predictor_for(load_package(other), "cpu")
