"""The report on real photographs: two hospitals train, every other one is a surprise.

    python benchmarks/evidence_real_report.py [--data FOLDER] [--out FOLDER] [--method erm]

``--data`` (by default the variable ``OFFSITE_DATA``) holds ``dr_idrid``, ``dr_messidor2``,
``dr_aptos_filtered`` (each with ``labels.csv``), ``medmnist`` and ``natural_ood``. IDRiD and
Messidor-2 train; APTOS and RetinaMNIST are held out; BreastMNIST, natural photographs and drawings
are foreign. Three small sites are cut out of the held-out APTOS, which loses their photographs: one
without its proliferative grade, one of 12 patients, one without labels.

Everything goes to ``--out``: the cohort, the prepared pictures, the run, the evaluation folder with
``report.html``, and ``numbers.md``. Pictures of patients stay there. Call it again after a stop:
what is done is kept. ``--run`` takes the weights of a finished run of ``evidence_retina.py`` (APTOS
held out, the same photographs and division) instead of training.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from evidence import markdown
from evidence_retina import build_cohort

from offsite.errors import InputError
from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.files import file_digest, read_json, write_text
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort, read_prepared
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.readers.building import GRADES, IMAGE_SUFFIXES, cohort_of, write_cohort
from offsite.preprocessing.readers.medmnist import read_medmnist
from offsite.retina.inference import grade, load_fundus_model
from offsite.retina.photographs.of_run import PixelStore
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina

TRAINING = ("dr_idrid", "dr_messidor2")
HELD_OUT = "dr_aptos_filtered"
LOST_CLASS, TWELVE, UNLABELLED = "aptos_lost_class", "aptos_12_patients", "aptos_unlabelled"
FURTHER = "retinamnist"
LOST = "proliferative"
REFERABLE = GRADES[2:]
LIMITS = (
    "aptos_lost_class, aptos_12_patients and aptos_unlabelled are no hospitals: they are random"
    " photographs of the held-out APTOS, cut out of it to show such sites, and not counted in"
    " dr_aptos_filtered.",
    "The copy of APTOS was filtered by others (local mean subtracted, squeezed to a square): its"
    " shift is one of preparation as much as of hospital.",
    "RetinaMNIST has 28 x 28 px, too few to show most lesions.",
    "None of these sets names its patients: each photograph counts as a patient of its own. Intervals"
    " may be too narrow, and two eyes of one patient of a training site may lie in different splits.",
    "The network is small, trained from nothing on pictures of 64 px: its figures say nothing of"
    " what a full model reaches.",
    "The grade is of retinopathy alone: macular oedema is not part of 'referable'.",
)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = os.environ.get("OFFSITE_DATA")
    parser.add_argument("--data", type=Path, default=where and Path(where), required=not where)
    parser.add_argument("--out", type=Path, default=Path("build/evidence/real_report"))
    parser.add_argument("--most", type=int, default=1000, help="photographs of a site at most")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--method", default="erm")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--run", type=Path, help="a finished run of evidence_retina.py, instead of training"
    )
    return parser.parse_args()


def sites_of_the_report(data: Path, out: Path, most: int) -> Cohort:
    """Return the cleaned hospitals, RetinaMNIST, and the small sites cut out of APTOS."""
    base = build_cohort(data, (*TRAINING, HELD_OUT), most, out)
    further = read_medmnist(data / "medmnist" / "retinamnist.npz", out / FURTHER, GRADES)
    rows = further.table.drop(columns="split")
    rows["image"] = FURTHER + "/" + rows["image"]
    table = pd.concat([with_small_sites(base.table), rows], ignore_index=True)
    write_cohort(base.with_table(table), out / "sites.csv")
    return load_cohort(out / "sites.csv", GRADES)


def with_small_sites(table: pd.DataFrame) -> pd.DataFrame:
    """Cut three small sites, disjoint, out of the held-out one; the lost class stays with it."""
    table = table.copy()
    rows = table.index[table["site"] == HELD_OUT].to_numpy()
    order = np.random.default_rng(np.random.SeedSequence([0, 12])).permutation(rows)
    fifth = len(rows) // 5
    lost = order[:fifth]
    lost = lost[(table.loc[lost, "label"] != LOST).to_numpy()]
    twelve, unlabelled = order[fifth : fifth + 12], order[fifth + 12 : 2 * fifth + 12]
    for name, chosen in ((LOST_CLASS, lost), (TWELVE, twelve), (UNLABELLED, unlabelled)):
        table.loc[chosen, "site"] = name
    table.loc[unlabelled, "label"] = ""
    return table


def foreign_pictures(data: Path, out: Path) -> Cohort:
    """Return ultrasound, natural photographs and drawings as a cohort without labels."""
    breast = read_medmnist(
        data / "medmnist" / "breastmnist.npz", out / "breastmnist", ("malignant", "normal_benign")
    )
    rows = [
        {"image": f"breastmnist/{row['image']}", "site": "breast_ultrasound", "label": "",
         "patient": row["patient"], "slide": row["slide"]}
        for row in breast.table.to_dict("records")
    ]  # fmt: skip
    for file in sorted((data / "natural_ood").rglob("*")):
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        parts = file.relative_to(data / "natural_ood").parts
        drawn = parts[0].startswith("pacs") and parts[1] != "photo"
        name = "-".join((*parts[:-1], file.stem))
        rows.append(
            {"image": os.path.relpath(file, out), "patient": name, "slide": name, "label": "",
             "site": "drawings" if drawn else "natural_photographs"}
        )  # fmt: skip
    foreign = cohort_of(rows, GRADES, out, "foreign pictures")
    return foreign.with_table(foreign.table.assign(site_role="held_out", split="test"))


def predict(cohort: Cohort, prepared: Path, run: Path) -> Predictions:
    """Grade the prepared pictures of a cohort by a trained network: familiar ones and foreign."""
    table, settings = read_prepared(prepared)
    there = (table["status"] == "ok").to_numpy()
    print(f"{prepared.name}: {there.sum()} of {len(there)} pictures prepared", flush=True)
    store = PixelStore([prepared / file for file in table["file"][there]], settings.px, 1 << 30)
    architecture = read_json(run / "run.json")["facts"]["architecture"]
    network = load_fundus_model(run / "weights.safetensors", architecture)
    graded = grade(network, store.pixels, int(there.sum()))
    columns = ["image", "patient", "site", "site_role", "split", "label"]
    return Predictions(
        table=cohort.table.loc[there, columns].reset_index(drop=True),
        classes=cohort.classes,
        probabilities=graded.probabilities,
        labels=cohort.label_indices[there],
        embeddings=graded.embeddings.astype(np.float64),
        logits=graded.logits.astype(np.float64),
    )


def trained(options: argparse.Namespace, divided: Cohort) -> Path:
    """Return the folder of a finished run: that of ``--run`` if it learnt from no other split."""
    if options.run is None:
        settings = RetinaSettings.model_validate(
            {
                "method": options.method,
                "backbone": {"name": "thin_resnet18", "width": 8},
                "fit": {
                    "epochs": options.epochs, "learning_rate": 3e-3, "seed": options.seed,
                    "select_by": "auc", "mode": "max",
                },
            }
        )  # fmt: skip
        train_retina(divided, options.out / "prepared", settings, options.out / "run")
        return Path(options.out / "run")
    theirs = pd.read_parquet(options.run / "splits.parquet").set_index("slide")["split"]
    ours = divided.table.set_index("slide")["split"]
    both = theirs.index.intersection(ours.index)
    learnt = theirs.index[theirs.isin(["train", "val"])]
    same = (theirs[both].astype(str) == ours[both].astype(str)).all()
    if not len(both) or not same or not learnt.isin(both).all():
        raise InputError(
            "the run was trained on another division of the photographs", file=options.run,
            remedy="Give a run of the same cohort with these sites held out, or train here",
        )  # fmt: skip
    return Path(options.run)


def facts_of(run: Path, preparation: FundusSettings) -> dict[str, Any]:
    """Return what the page should say of the model."""
    settings = read_json(run / "settings.json")
    return {
        "model": {
            "method": settings["method"],
            "network": f"{settings['backbone']['name']}, width {settings['backbone']['width']}",
            "first weights": "random",
            "weights": f"sha256 {file_digest(run / 'weights.safetensors')}",
            "preparation": f"{preparation.px} px, {preparation.enhancement}",
        },
        "seeds": {"training": settings["fit"]["seed"]},
    }


def cohort_flow(dropped: pd.DataFrame, prepared: pd.DataFrame) -> pd.DataFrame:
    """Return what the audit dropped, what could not be prepared, and what was predicted."""
    twins = dropped["reason"].str.startswith("the same image")
    rows = pd.DataFrame(
        {
            "stage": "audit",
            "site": dropped["site"],
            "outcome": "excluded",
            "reason": np.where(twins, "the same image twice", dropped["reason"]),
        }
    )
    failed = prepared["status"] != "ok"
    here = pd.DataFrame(
        {
            "stage": "preparation",
            "site": prepared["site"],
            "outcome": np.where(failed, "failed", "kept"),
            "reason": prepared["code"],
        }
    )
    both = pd.concat([rows, here], ignore_index=True)
    return both.groupby(list(both.columns), sort=False).size().rename("n").reset_index()


def quality(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the share of photographs of each site that can hardly be graded."""
    rows = [
        {"site": site, "measure": "ungradable", "rate": 1 - part["gradable"].mean(), "n": len(part)}
        for site, part in prepared[prepared["status"] == "ok"].groupby("site")
    ]
    return pd.DataFrame(rows)


def shown(rows: pd.DataFrame, digits: int = 2) -> str:
    """Return the one row as value and interval, or the reason why there is none."""
    if len(rows) != 1:
        return "–"
    row = rows.iloc[0]
    if pd.isna(row["value"]):
        return str(row["reason"])
    if pd.isna(row["low"]):
        return f"{row['value']:.{digits}f} (no interval)"
    return f"{row['value']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def site_numbers(found: Evaluation) -> pd.DataFrame:
    """Return the main figures of each site, with their intervals."""
    tables = {name: pd.read_csv(found.folder / f"{name}.csv", keep_default_na=False, na_values=[""])
              for name in ("operating_points", "ood", "conformal", "cohort")}  # fmt: skip
    per_site = found.per_site[found.per_site["split"] == "test"]
    points, ood, sets = tables["operating_points"], tables["ood"], tables["conformal"]
    carried = points[points["rule"] == "point"]
    flags = ood[(ood["detector"] == "mahalanobis") & (ood["metric"] == "flag_rate")]
    sets = sets[(sets["level"] == 0.9) & (sets["label"] == "_all") & ~sets["weighted"].astype(bool)]
    sets = sets.rename(columns={"coverage": "value"})
    pairs = per_site[~per_site["site"].str.startswith("_")][["site_role", "site"]].drop_duplicates()
    rows = {}
    for role, site in sorted(pairs.itertuples(index=False), key=lambda pair: pair[0] != "training"):
        own = per_site[per_site["site"] == site]
        at = carried[carried["site"] == site]
        seen = flags[(flags["site"] == site) & (flags["category"] != "error")]
        rows[f"{site} ({role.replace('_', ' ')})"] = {
            "labelled test photographs": int(own["n"].max()),
            "AUROC, referable": shown(own[own["metric"] == "referable/auroc"]),
            "weighted kappa": shown(own[own["metric"] == "quadratic_weighted_kappa"]),
            "sensitivity": shown(at[at["metric"] == "sensitivity"]),
            "specificity": shown(at[at["metric"] == "specificity"]),
            "flagged as foreign": shown(seen),
            "coverage of 90 % sets": shown(sets[sets["site"] == site]),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "site"
    return table


def foreign_numbers(found: Evaluation) -> pd.DataFrame:
    """Return how well each detector tells foreign and held-out pictures from familiar ones."""
    ood = pd.read_csv(found.folder / "ood.csv", keep_default_na=False, na_values=[""])
    ood = ood[ood["category"].isin(["covariate_shifted", "far"])]
    rows = {}
    for detector in ood["detector"].unique():
        for metric, title in (("auroc", "AUROC"), ("flag_rate", "flagged")):
            own = ood[(ood["detector"] == detector) & (ood["metric"] == metric)]
            sites = [HELD_OUT, FURTHER, "breast_ultrasound", "natural_photographs", "drawings"]
            rows[f"{detector}, {title}"] = {s: shown(own[own["site"] == s]) for s in sites}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "detector"
    return table


def main() -> None:
    """Do whatever is not done yet, from the photographs to the page."""
    options = arguments()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    # RetinaMNIST has 28 px, and what that costs is part of the evidence.
    preparation = FundusSettings(
        px=options.px, enhancement="graham", already_cropped=True, max_upsampling=8
    )
    cohort = sites_of_the_report(options.data, out, options.most)
    prepared = prepare_cohort(cohort, out / "prepared", preparation, workers=1)
    held_out = tuple(site for site in cohort.sites if site not in TRAINING)
    divided = split_cohort(cohort, SplitSettings(held_out_sites=held_out, val=0.15, test=0.15))
    run = trained(options, divided)
    foreign = foreign_pictures(options.data, out)
    prepare_cohort(foreign, out / "prepared_foreign", preparation, workers=1)
    rows, far = (
        predict(divided, out / "prepared", run),
        predict(foreign, out / "prepared_foreign", run),
    )
    chosen = ReportSettings.model_validate(
        {
            "title": "Diabetic retinopathy: trained on IDRiD and Messidor-2, read elsewhere",
            "limits": LIMITS,
            "metrics": {"tasks": {"referable": {"positive_classes": REFERABLE}}},
            "conformal": {"ordered": True},
        }
    )
    dropped = pd.read_csv(out / "dropped.csv", keep_default_na=False)
    found = evaluate(
        rows, out / "evaluation", chosen, far=far, facts=facts_of(run, preparation),
        extra_tables={"cohort_flow": cohort_flow(dropped, prepared), "quality": quality(prepared)},
    )  # fmt: skip
    text = "\n\n".join([markdown(site_numbers(found)), markdown(foreign_numbers(found))])
    write_text(out / "numbers.md", text + "\n")
    print(f"{text}\n\n{found.report}")


if __name__ == "__main__":
    main()
