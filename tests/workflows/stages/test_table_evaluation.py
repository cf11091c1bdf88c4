"""Tables that others made, each read as meant without editing, or refused with what to do."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.evaluating import Evaluation
from offsite.evaluation.predictions.example import example_predictions
from offsite.evaluation.predictions.frames import read_predictions
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.tracking.store import client_of
from offsite.files import read_json
from offsite.workflows.stages.table_evaluation import (
    as_overrides,
    evaluate_table,
    folders_of,
    track_table,
    write_example,
)
from tests.workflows.command import offsite

LIGHT = ["parts=[]", "metrics.resamples=100"]
CLASSES = ("benign", "malignant")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two hospitals, the score better at one of them; labels 0 and 1."""
    rng = np.random.default_rng(0)
    ill = np.arange(160) % 2
    noise = np.where(np.arange(160) < 80, 0.15, 0.5)
    return pd.DataFrame(
        {
            "hospital": ["north"] * 80 + ["south"] * 80,
            "subject": np.arange(160) // 2,
            "y_true": ill,
            "y_score": np.clip(0.3 + 0.4 * ill + rng.normal(0, noise), 0.01, 0.99),
        }
    )


def auroc(made: Evaluation) -> dict[str, float]:
    rows = made.per_site[~made.per_site["site"].str.startswith("_")]
    rows = rows[rows["metric"] == "auroc"]
    return {
        str(site): float(value) for site, value in zip(rows["site"], rows["value"], strict=True)
    }


def evaluated(table: Path, columns: list[str], classes: str | None = None) -> Evaluation:
    overrides = [*LIGHT, *as_overrides(columns, classes)]
    return evaluate_table(table, table.with_name("out"), None, overrides)


@pytest.fixture(scope="module")
def wanted(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The same rows in offsite's own form."""
    folder = tmp_path_factory.mktemp("own")
    own = pd.DataFrame(
        {
            "image": [f"row {number}" for number in range(1, 161)],
            "patient": frame["subject"],
            "site": frame["hospital"],
            "split": "test",
            "label": np.array(CLASSES)[frame["y_true"]],
            "prob_benign": 1 - frame["y_score"],
            "prob_malignant": frame["y_score"],
        }
    )
    own.to_csv(folder / "own.csv", index=False)
    return auroc(evaluated(folder / "own.csv", []))


def test_a_scikit_learn_users_frame(frame: pd.DataFrame, wanted: dict, tmp_path: Path) -> None:
    frame.astype({"y_true": float}).to_csv(
        tmp_path / "cv.csv"
    )  # with its index, labels 0.0 and 1.0
    columns = ["site=hospital", "patient=subject", "label=y_true", "score=y_score"]
    made = evaluated(tmp_path / "cv.csv", columns, "benign, malignant")
    assert auroc(made) == pytest.approx(wanted, abs=1e-12)
    record = read_json(made.folder / "evaluation.json")
    assert record["inputs"]["table"] == "cv.csv"
    assert record["inputs"]["column site"] == "hospital"
    assert any("0 is benign, 1 is malignant" in text for text in record["limits"])
    assert any("every row is measured" in text for text in record["limits"])


def test_an_r_users_semicolons_and_decimal_commas(
    frame: pd.DataFrame, wanted: dict, tmp_path: Path
) -> None:
    rows = frame.rename(
        columns={"hospital": "Site", "subject": "Patient", "y_score": "p.malignant"}
    )
    rows["Diagnosis"] = np.where(frame["y_true"] == 1, "TRUE", "FALSE")
    rows.drop(columns="y_true").to_csv(
        tmp_path / "results.csv", sep=";", decimal=",", quoting=2, index_label="", encoding="utf-16"
    )  # as write.csv2 does
    columns = ["label=Diagnosis", "score=p.malignant"]
    made = evaluated(tmp_path / "results.csv", columns, "benign,malignant")
    assert auroc(made) == pytest.approx(wanted, abs=1e-12)


def test_a_monai_users_table_of_logits_turned_to_shares(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 150)
    shares = rng.dirichlet(np.ones(3), 150) + 0.8 * np.eye(3)[truth]
    shares /= shares.sum(axis=1, keepdims=True)
    table = pd.DataFrame(shares, columns=["class_0", "class_1", "class_2"]).assign(
        filename=[f"/data/{row}.nii.gz" for row in range(150)],
        subject_id=[f"s{row // 3}" for row in range(150)],
        center=np.where(np.arange(150) < 75, "A", "B"),
        label=truth,
    )
    table.to_csv(tmp_path / "test.tsv", sep="\t", index=False)
    columns = ["image=filename", "patient=subject_id", "site=center"]
    columns += [f"prob_{name}=class_{place}" for place, name in enumerate(("no", "mild", "severe"))]
    made = evaluated(tmp_path / "test.tsv", columns, "no,mild,severe")
    graded = set(made.per_site["metric"])
    assert {"auroc/severe", "quadratic_weighted_kappa"} <= graded
    right = made.per_site.query("metric == 'accuracy' and site == '_pooled'")["value"].iloc[0]
    assert right == pytest.approx((shares.argmax(axis=1) == truth).mean())


def test_a_table_of_slides_with_folds_by_class_number(tmp_path: Path) -> None:
    """As benchmarks of slide encoders write them: classes 0 and 1, Train and Test."""
    rng = np.random.default_rng(2)
    truth, centres = rng.integers(0, 2, 240), np.repeat(["X", "Y", "Z"], 80)
    p = np.clip(0.25 + 0.5 * truth + rng.normal(0, 0.2, 240), 0.01, 0.99)
    rows = pd.DataFrame(
        {
            "slide_id": [f"TCGA-{row:03d}.svs" for row in range(240)],
            "case_id": [f"TCGA-{row // 2:03d}" for row in range(240)],
            "institution": centres,
            "fold_0": np.where(
                centres == "Z", "Test", np.tile(["Train", "Train", "test", "test"], 60)
            ),
            "label": truth,
            "prob_0": 1 - p,
            "prob_1": p,
        }
    )
    rows.to_csv(tmp_path / "fold_0.csv.gz", index=False)
    columns = ["image=slide_id", "patient=case_id", "site=institution", "split=fold_0"]
    made = evaluated(tmp_path / "fold_0.csv.gz", columns)
    roles = made.per_site.drop_duplicates("site").set_index("site")["site_role"]
    assert roles[["X", "Y", "Z"]].tolist() == ["training", "training", "held_out"]
    counts = made.per_site.query("metric == 'auroc'").set_index("site")["n"]
    assert counts[["X", "Y", "Z"]].tolist() == [40, 40, 80]


def test_kappas_are_of_grades_in_an_order_that_was_stated(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(rng.dirichlet(np.ones(3), 90), columns=["prob_b", "prob_a", "prob_c"])
    table["label"] = np.array(["a", "b", "c"])[rng.integers(0, 3, 90)]
    table["patient"], table["site"] = np.arange(90), "one"
    table.to_csv(tmp_path / "t.csv", index=False)

    def kappa(*overrides: str, classes: str | None = None) -> list[float]:
        given = [*LIGHT, *overrides, *as_overrides([], classes)]
        made = evaluate_table(tmp_path / "t.csv", tmp_path / "out", None, given)
        rows = made.per_site.query("metric == 'quadratic_weighted_kappa' and site == 'one'")
        return rows["value"].tolist()

    assert kappa() == []
    stated = kappa(classes="a,b,c")
    assert len(stated) == 1
    assert stated != kappa(classes="b,a,c")
    assert kappa("metrics.ordered=false", classes="a,b,c") == []


@pytest.mark.parametrize(
    ("columns", "classes", "code", "said"),
    [
        (["sites=hospital"], None, "unclear_columns", "Did you mean site?"),
        (["site=hospitals"], "b,m", "unclear_columns", "Did you mean hospital?"),
        (["site"], None, "unclear_columns", "--column site=HOSPITAL"),
        (["site=hospital", "label=y_true", "score=y_score"], "b,m", "unclear_columns", "patient"),
        (["site=hospital", "patient=subject", "label=y_true"], None, "unclear_classes", "classes"),
        (["site=hospital", "patient=subject", "label=y_true", "score=subject"], "b,m",
         "not_probabilities", "from 0 to 1"),
    ],
)  # fmt: skip
def test_what_is_unclear_is_refused_with_its_remedy(
    frame: pd.DataFrame, tmp_path: Path, columns: list[str], classes: str, code: str, said: str
) -> None:
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError) as caught:
        evaluated(tmp_path / "t.csv", columns, classes)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_unknown_roles_and_metrics_name_the_nearest(tmp_path: Path) -> None:
    example_predictions().assign(site_role="held-ot").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match="Did you mean held_out") as caught:
        evaluated(tmp_path / "t.csv", [])
    assert (caught.value.code, caught.value.row) == ("unknown_site_role", 2)
    example_predictions().to_csv(tmp_path / "t.csv", index=False)
    for wanted, near in (("auroc_ov", "auroc"), ("quadratic_weighted_kappa", "There are")):
        with pytest.raises(InputError, match=near) as caught:
            evaluate_table(
                tmp_path / "t.csv", tmp_path / "o", None, [*LIGHT, f"primary_metric={wanted}"]
            )
        assert caught.value.code == "unknown_metric"


def test_rows_are_numbered_as_in_the_file(frame: pd.DataFrame, tmp_path: Path) -> None:
    text = frame.assign(y_score=frame["y_score"].round(3)).to_csv(index=False).splitlines()
    text.insert(3, "")
    text[10] = text[10].rsplit(",", 1)[0] + ",often"
    (tmp_path / "t.csv").write_text("\n".join(text))
    with pytest.raises(InputError) as caught:
        read_predictions(
            tmp_path / "t.csv",
            CLASSES,
            {"site": "hospital", "patient": "subject", "label": "y_true", "score": "y_score"},
        )
    assert (caught.value.row, caught.value.column) == (11, "y_score")


def test_each_table_gets_a_folder_of_its_own() -> None:
    one, other = Path("a/cv.csv"), Path("b/rf.csv.gz")
    assert folders_of([one], Path("out")) == [Path("out")]
    assert folders_of([one, other], Path("out")) == [Path("out/cv"), Path("out/rf")]
    assert folders_of([one, other], None) == [Path("a/cv-evaluation"), Path("b/rf-evaluation")]
    with pytest.raises(InputError, match="another table") as caught:
        folders_of([one, Path("b/cv.parquet")], Path("out"))
    assert caught.value.code == "one_folder_for_two"


def test_the_example_is_a_whole_table_and_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    file = write_example(tmp_path / "example.csv")
    assert load_predictions(file).classes == CLASSES  # also by the strictest reader
    write_example(file)  # what offsite wrote it may write again
    made = evaluate_table(file, None, None, LIGHT)
    assert made.folder == tmp_path / "example-evaluation"
    areas = auroc(made)
    assert areas["west"] < 0.75 < min(areas["north"], areas["south"])
    (tmp_path / "mine.csv").write_text("mine")
    for target in ("mine.csv", "example.xlsx"):
        with pytest.raises(InputError):
            write_example(tmp_path / target)
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_a_table_is_tracked_as_a_run_is(tmp_path: Path) -> None:
    made = evaluate_table(write_example(tmp_path / "t.csv"), None, None, LIGHT)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    logged = {track_table(made, "t.csv", uri, "tables") for _ in range(2)}
    assert len(logged) == 1
    run = client_of(uri).get_run(logged.pop())
    assert run.data.metrics["test/west/auroc"] == pytest.approx(auroc(made)["west"])
    assert run.data.tags["input.table"] == "t.csv"


def test_the_command_takes_several_tables_and_refuses_options_that_it_would_not_use(
    tmp_path: Path,
) -> None:
    for name in ("a.csv", "b.csv"):
        assert offsite("evaluate", "--example", tmp_path / name).returncode == 0
    light = [word for setting in LIGHT for word in ("--set", setting)]
    done = offsite(
        "evaluate", tmp_path / "a.csv", tmp_path / "b.csv", "-o", tmp_path / "out", *light
    )
    assert done.returncode == 0, done.stderr
    pages = [str(tmp_path / "out" / name / "report.html") for name in "ab"]
    assert done.stdout.split() == pages
    assert all(Path(page).is_file() for page in pages)
    nothing = offsite("evaluate")
    assert nothing.returncode == 2
    assert "--example" in nothing.stderr
