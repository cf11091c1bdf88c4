"""The report on twins: small twin cohort to table; and measures whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.files import read_json
from offsite.pathology.encoder_bench import BENCH
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import make_twin_cohort
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.cli import app
from offsite.workflows.jobs.job import Job
from offsite.workflows.twins.measures import POOLED, TwinFeatures, frame, twin_rows
from offsite.workflows.twins.stage import compare_twins, other_encoders, probe_answers, run_answers
from tests.workflows.conftest import SlideRun
from tests.workflows.job_files import COHORT, write_job

TWINS = COHORT.model_copy(
    update={"sites": (SITES[0], SITES[4]), "width_um": 300, "height_um": 300,
            "lesion_share": (0.6, 0.9)}
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, slide_run: SlideRun) -> tuple[Path, str]:
    """A job whose twins were compared by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("twins")
    table = make_twin_cohort(folder / "cohort", TWINS, tissues=6, workers=2)
    config = write_job(folder)
    words = ["twins", str(config), "--cohort", str(table), "--run", str(slide_run.run)]
    done = CliRunner().invoke(app, [*words, "--workers", "2"], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    return config, done.output


def value(table: pd.DataFrame, encoder: str, measure: str) -> float:
    chosen = table[(table["encoder"] == encoder) & (table["measure"] == measure)]
    return float(chosen[chosen["site"] == POOLED]["value"].iloc[0])


def test_the_report_tells_the_stain_robust_from_the_stain_sensitive_encoder(
    made: tuple[Path, str],
) -> None:
    table = pd.read_csv(made[0].parent / "results" / "twins" / "twins.csv")
    # With so few tiles chance alone keeps half of the neighbours, hence the small margin.
    for measure, margin in (("cosine", 0.15), ("rank_retention", 0.05), ("retrieval", 0.15)):
        robust = value(table, "structure_baseline", measure)
        assert robust > value(table, "colour_baseline", measure) + margin, measure
    assert "structure_baseline" in made[1]
    assert "colour_baseline" in made[1]


def test_every_measure_has_pooled_rows_and_pairs_of_sites(made: tuple[Path, str]) -> None:
    table = pd.read_csv(made[0].parent / "results" / "twins" / "twins.csv")
    own = table[table["encoder"] == "structure_baseline"]
    measures = [
        "cosine", "rank_retention", "retrieval", "site_predictability", "robustness_index",
        "probe_flip_rate", "probe_accuracy_same_site", "probe_accuracy_other_site",
        "run_flip_rate", "run_accuracy",
    ]  # fmt: skip
    assert set(measures) <= set(own.loc[own["site"] == POOLED, "measure"])
    pairs = own[own["site"] != POOLED][["measure", "site", "other_site"]]
    assert {"cosine", "probe_flip_rate", "run_flip_rate"} <= set(pairs["measure"])
    assert set(pairs["site"]) == {"aster"}
    assert set(pairs["other_site"]) == {"elm"}


def test_the_same_again_changes_nothing(made: tuple[Path, str]) -> None:
    twins = made[0].parent / "results" / "twins"
    before = pd.read_csv(twins / "twins.csv")
    stamps = {path: path.stat().st_mtime_ns for path in twins.glob("features/*/*.h5")}
    compare_twins(Job.load(made[0]), made[0].parent / "cohort" / "cohort.csv")
    again = pd.read_csv(twins / "twins.csv")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    kept = before[~before["measure"].str.startswith("run_")].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, kept)


def test_another_folder_is_no_run(made: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        compare_twins(Job.load(made[0]), made[0].parent / "cohort" / "cohort.csv", run=tmp_path)


def test_an_unknown_encoder_is_refused_by_name(made: tuple[Path, str]) -> None:
    with pytest.raises(InputError, match="'unknown' is no encoder"):
        compare_twins(
            Job.load(made[0]), made[0].parent / "cohort" / "cohort.csv", encoders=["unknown"]
        )


def twins_of(shift: float, own: float = 1.0) -> TwinFeatures:
    """Three sites that show 24 tissues of 8 tiles; a class axis, a site axis, the rest tissue."""
    rng = np.random.default_rng(0)
    tissue = rng.normal(size=(24, 8, 12))
    tissue[..., 0] = 4 * (np.arange(24) % 2)[:, None]
    parts, features = [], []
    for number, site in enumerate(("east", "north", "west")):
        for index in range(24):
            facts = {"tissue": f"t{index}", "site": site, "slide": f"t{index}-{site}"}
            label = ("a", "b")[index % 2]
            parts.append(pd.DataFrame({"place": range(8)}).assign(**facts, label=label))
            rows = own * tissue[index].copy()
            rows[:, 0] += shift * number
            features.append(rows)
    return TwinFeatures(pd.concat(parts, ignore_index=True), np.concatenate(features))


def pooled(twins: TwinFeatures) -> pd.DataFrame:
    table = frame(twin_rows("known", twins, probe_answers(twins)))
    return table[table["site"] == POOLED].set_index("measure")


def test_where_sites_change_nothing_nothing_is_lost() -> None:
    found = pooled(twins_of(0))
    for measure in ("cosine", "rank_retention", "retrieval"):
        assert found.loc[measure, "value"] == pytest.approx(1)
    assert found.loc["probe_flip_rate", "value"] == 0
    assert found.loc["probe_flip_rate", "high"] > 0.1  # 24 tissues do not make it certain
    assert found.loc["robustness_index", "value"] > 0.95
    assert found.loc["site_predictability", "p_value"] > 0.05
    assert found.loc["probe_accuracy_other_site", "value"] > 0.9


def test_where_the_site_moves_the_class_axis_answers_flip() -> None:
    found = pooled(twins_of(8))
    # East to west a class is moved across the boundary; of each two tissues one flips.
    assert found.loc["probe_flip_rate", "value"] == pytest.approx(0.5)
    assert found.loc["probe_accuracy_same_site", "value"] > 0.9
    assert found.loc["probe_accuracy_other_site", "value"] == pytest.approx(0.5)
    assert found.loc["site_predictability", "p_value"] < 0.05


def test_a_run_of_other_classes_is_not_said_to_be_wrong_on_the_twins(slide_run: SlideRun) -> None:
    facts = read_json(slide_run.run / "run.json")["facts"]
    rng = np.random.default_rng(0)
    tiles = pd.DataFrame(
        {"tissue": ["t", "t", "u", "u"], "site": ["a", "b"] * 2, "slide": list("1234"),
         "label": ["high_grade", "high_grade", "tumour", "tumour"], "place": 0}
    )  # fmt: skip
    features = rng.normal(size=(4, facts["architecture"]["dimensions"]))
    found = run_answers(
        slide_run.run, TwinFeatures(tiles, features), facts["encoder_digest"], BENCH.twins()
    )
    assert found["label"].tolist() == ["high_grade", "high_grade", "", ""]
    assert set(found["answer"]) <= set(CLASSES)


def test_an_encoder_is_compared_once_by_its_name() -> None:
    own = EncoderSettings(name="structure_baseline")
    texts = ("colour_baseline", "structure_baseline", "colour_baseline")
    assert [other.name for other in other_encoders(BENCH, own, texts)] == ["colour_baseline"]
    with pytest.raises(InputError, match="two sets of weights"):
        other_encoders(BENCH, own, ("structure_baseline=/other/weights",))
