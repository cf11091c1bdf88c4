"""A hospital joins a trained head by its sums, or leaves it: a new run folder, as of any other run.

The head is that of all rows of all hospitals together, to rounding, and no image changes hands. After
it the new run is evaluated, packaged, registered and judged by the gate as every run is.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.files import digest_of, read_json, replacing, write_json
from offsite.locks import writing
from offsite.training.fit.from_sums import write_fit
from offsite.training.heads.joining import HeadOfRun, KnownRows, RefittedHead
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import RowSums
from offsite.training.run_folder import EXCLUDED, RECORD, RunFolder
from offsite.training.train_run import Answers, write_answers
from offsite.workflows.jobs.modalities import modality_named
from offsite.workflows.site.fingerprints import check_same
from offsite.workflows.site.run_of_sums import WEIGHTS, RunOfSums, fingerprints_of, opened
from offsite.workflows.site.sums_file import HospitalSums, read_sums
from offsite.workflows.stages.evaluation import configuration_of
from offsite.workflows.stages.training import CELL, CONFIGURATION

_COPIED = ("settings.json", CONFIGURATION)


def join(run: Path, files: Sequence[Path], output: Path) -> Path:
    """Fit the head of a run to its own sums and those of further hospitals; return the new run.

    Parameters
    ----------
    run : path
        A finished run of method `linear`, or one that hospitals have joined already.
    files : sequence of path
        As `offsite site sums` wrote them; their order does not matter.
    output : path
        Folder of the new run.

    Raises
    ------
    InputError
        Code ``no_linear_head``, ``not_sums``, ``too_small_cells``, ``other_model``,
        ``other_classes``, ``hospital_twice``, ``judges_here`` or ``folder_in_use``. Nothing is
        written then.
    """
    with ExitStack() as held:
        before = opened(run, held)
        reads = fingerprints_of(before)
        classes = tuple(before.record["inputs"]["classes"])
        coming = [read_sums(file) for file in files]
        parts, known = before.sums.by_site(), {digest: site for site, digest in _joined(before)}
        judging = set(pd.read_parquet(run / "splits.parquet")["site"]) - set(parts)
        for hospital in coming:
            if hospital.site in judging:
                raise InputError(
                    f"the run holds {hospital.site} out to judge the head: it cannot be fitted to it",
                    remedy="Train a run without its images, and let it join that",
                    code="judges_here",
                )
            check_same(hospital.site, hospital.reads, reads)
            _check_classes(hospital, classes)
            twin = known.get(hospital.digest)
            if hospital.site in parts or twin:
                raise InputError(
                    f"{hospital.site} is in the head already" + (f", as {twin}" if twin else ""),
                    remedy="Let it leave first (`offsite site leave`), or leave its file out",
                    code="hospital_twice",
                )
            parts[hospital.site] = hospital.rows
            known[hospital.digest] = hospital.site
        told = [*before.facts.get("joined", []), *map(_told, coming)]
        told.sort(key=lambda one: str(one["site"]))
        left = [site for site in before.facts.get("left", []) if site not in parts]
        facts = {"joined": told, "left": left}
        return _made(before, parts, output, facts)


def leave(run: Path, site: str, output: Path) -> Path:
    """Fit the head of a run without a hospital; return the new run, which has no row of it either.

    What was chosen with its patients and is no sum stays: the penalty, and which images validate.

    Raises
    ------
    InputError
        Code ``no_linear_head``, ``no_such_hospital``, ``last_hospital`` or ``folder_in_use``.
    """
    with ExitStack() as held:
        before = opened(run, held)
        parts = before.sums.by_site()
        if site not in parts:
            raise InputError(
                f"{site} is not in the head",
                remedy=f"In it are {', '.join(sorted(parts))}",
                code="no_such_hospital",
            )
        del parts[site]
        joined = [one for one in before.facts.get("joined", []) if one["site"] != site]
        if not set(parts) - {one["site"] for one in joined}:
            raise InputError(
                f"{site} is the last hospital whose images this run has: without it nothing is left"
                " to validate the head with",
                remedy="Train a run at another hospital, and let the others join that",
                code="last_hospital",
            )
        left = sorted({*before.facts.get("left", []), site})
        return _made(before, parts, output, {"joined": joined, "left": left})


def _check_classes(hospital: HospitalSums, classes: tuple[str, ...]) -> None:
    if hospital.classes != classes:
        raise InputError(
            f"the sums of {hospital.site} are of {', '.join(hospital.classes)}; the run's classes"
            f" are {', '.join(classes)}",
            remedy="Let it make the sums with the package of this run",
            code="other_classes",
        )


def _joined(run: RunOfSums) -> list[tuple[str, str]]:
    return [(one["site"], one["sums"]) for one in run.facts.get("joined", [])]


def _told(hospital: HospitalSums) -> dict[str, Any]:
    """What the new run says of a hospital that joined it."""
    counts = np.rint(hospital.rows.weights).astype(int).tolist()
    return {
        "site": hospital.site,
        "sums": hospital.digest,
        "cases": dict(zip(hospital.classes, counts, strict=True)),
        "patients": dict(zip(hospital.classes, hospital.patients.tolist(), strict=True)),
        **hospital.made,
    }


def _made(
    before: RunOfSums, parts: Mapping[str, RowSums], output: Path, said: dict[str, Any]
) -> Path:
    """Write the new run; a killed one is made anew, a finished one of the same is left as it is."""
    inputs = {
        **before.record["inputs"],
        "made_from": before.record["key"],
        "joined": [one["sums"] for one in said["joined"]],
        "sites_of_sums": sorted(parts),
    }
    _check_output(output, inputs)
    with writing(output):
        new = RunFolder(output)
        if new.begin(inputs):
            _write(before, SiteSums.of_parts(parts, before.share), output, inputs, said)
    return output


def _check_output(output: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run: it would be cleared away."""
    file = output / RECORD
    if file.exists() and read_json(file).get("key") != digest_of(inputs):
        raise InputError(
            "the folder holds another run", file=output, remedy="Name a new folder",
            code="folder_in_use",
        )  # fmt: skip


def _write(
    before: RunOfSums, sums: SiteSums, output: Path, inputs: Mapping[str, Any], said: dict[str, Any]
) -> None:
    facts = dict(before.facts)
    gone = set(said["left"])
    rows = load_predictions(before.folder)
    rows = rows.select(~rows.table["site"].isin(gone).to_numpy())
    refitted = _refitted(before, sums, rows)
    _copy_tables(before.folder, output, gone)
    arrays = {**sums.arrays(), "copies": before.copies}
    errors = facts["errors_at_left_out_patients"]
    write_fit(output, digest_of(inputs), refitted.weights, arrays, errors)
    here = [site for site in sums.sites if site not in {one["site"] for one in said["joined"]}]
    facts |= {
        **said,
        "sites_of_sums": list(sums.sites),
        "training_sites": here,
        "made_from": before.record["key"],
    }
    probabilities = softmax(refitted.logits.astype(np.float64), axis=1)
    assert rows.embeddings is not None
    table = pd.read_parquet(before.folder / "predictions.parquet")
    table = table[~table["site"].isin(gone)].reset_index(drop=True)
    answers = Answers(table, probabilities, refitted.logits, rows.embeddings, facts, rows.trunk)
    write_answers(output, answers, rows.classes)
    _write_cell(before.folder, output, said)
    RunFolder(output).finish(**facts)


def _refitted(before: RunOfSums, sums: SiteSums, rows: Predictions) -> RefittedHead:
    refit_head = modality_named(configuration_of(before.folder).task).refit_head
    if refit_head is None or rows.embeddings is None:
        raise InputError(
            "the head of this kind of run cannot be fitted again",
            file=before.folder,
            remedy="Train with method linear of slides or photographs",
            code="no_linear_head",
        )
    head = HeadOfRun(
        weights=before.folder / WEIGHTS,
        architecture=before.facts["architecture"],
        sums=before.sums.weighted(),
        penalty=float(before.facts["penalty"]),
    )
    validation = np.asarray(roles_of(rows.table).calibrate)
    known = KnownRows(embeddings=rows.embeddings, labels=rows.labels, validation=validation)
    return refit_head(head, sums.weighted(), known)


def _copy_tables(old: Path, new: Path, gone: set[str]) -> None:
    """Copy what says how the run was set and divided, without the rows of who left."""
    for name in _COPIED:
        with replacing(new / name) as temporary:
            copyfile(old / name, temporary)
    splits = pd.read_parquet(old / "splits.parquet")
    with replacing(new / "splits.parquet") as temporary:
        splits[~splits["site"].isin(gone)].to_parquet(temporary, index=False)
    excluded = pd.read_csv(old / EXCLUDED, dtype=str, keep_default_na=False)
    with replacing(new / EXCLUDED) as temporary:
        kept = excluded[~excluded["site"].isin(gone)]
        kept.to_csv(temporary, index=False, lineterminator="\n")


def _write_cell(old: Path, new: Path, said: Mapping[str, Any]) -> None:
    """Say which cell of the job it came from, and in its name what became of it."""
    cell = read_json(old / CELL)
    first = cell.get("first_name", cell["name"])
    sites = [f"with {one['site']}" for one in said["joined"]]
    name = ", ".join([first, *sites, *(f"without {site}" for site in said["left"])])
    # A model of joined hospitals is judged by its own answers, not by those of any folds.
    kept = {key: value for key, value in cell.items() if key != "fold"}
    write_json(new / CELL, {**kept, "first_name": first, "name": name})
