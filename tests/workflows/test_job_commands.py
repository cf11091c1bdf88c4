"""The stages as the commands of a job: killed and gone on with, stale parts redone, shown."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from offsite.workflows.jobs.job import Job
from offsite.written import LIST
from tests.workflows.command import ENVIRONMENT, call, offsite
from tests.workflows.job_files import small_job, write_job

RUN = "runs/sc_mil/without-cedar/seed-0"


def killed(when: Callable[[], bool], *arguments: object) -> None:
    """Start a command and kill it, with no chance to tidy up, as soon as ``when`` holds."""
    process = subprocess.Popen(
        call(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    while process.poll() is None and not when():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job done without disturbance, up to training."""
    folder = tmp_path_factory.mktemp("job")
    config = small_job(folder)
    for stage in ("tile", "embed", "train"):
        done = offsite(stage, config)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def fresh(made: Path, tmp_path: Path) -> Callable[..., Path]:
    """The same job elsewhere, with the named results of the undisturbed one; none by default."""

    def copy(*kept: str) -> Path:
        shutil.copytree(made / "cohort", tmp_path / "cohort", copy_function=os.link)
        for name in (*kept, *([LIST] if kept else [])):
            source = made / "results" / name
            target = tmp_path / "results" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
        return write_job(tmp_path)

    return copy


def marks(files: list[Path]) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in files}


def same_tables(found: Path, wanted: Path) -> None:
    """Tables are equal to the bit, but for the folder that they name."""
    one, other = (pd.read_csv(file, dtype=str, keep_default_na=False) for file in (found, wanted))
    pd.testing.assert_frame_equal(one.drop(columns="image"), other.drop(columns="image"))


def test_killed_tiling_goes_on(made: Path, fresh: Callable[..., Path]) -> None:
    config = fresh()
    tiles = config.parent / "results" / "tiles"

    def finished() -> list[Path]:
        """A slide is done when its table stands beside its record; the record comes first."""
        return [file for file in tiles.glob("*.json") if file.with_suffix(".parquet").exists()]

    killed(lambda: len(finished()) >= 3, "tile", config, "--workers", "1")
    before = marks(finished())
    assert 3 <= len(before) < 18
    done = offsite("tile", config)
    assert done.returncode == 0, done.stderr
    same_tables(config.parent / "results/tiles.csv", made / "results/tiles.csv")
    assert marks([tiles / name for name in before]) == before
    for file in sorted((made / "results/tiles").glob("*.parquet")):
        assert file.read_bytes() == (tiles / file.name).read_bytes()


def test_killed_embedding_goes_on(made: Path, fresh: Callable[..., Path]) -> None:
    config = fresh("tiles", "tiles.csv")
    features = config.parent / "results" / "features"
    killed(lambda: len(list(features.glob("*.h5"))) >= 3, "embed", config, "--workers", "1")
    before = marks(sorted(features.glob("*.h5")))
    assert 3 <= len(before) < 18
    done = offsite("embed", config)
    assert done.returncode == 0, done.stderr
    same_tables(features / "features.csv", made / "results/features/features.csv")
    assert marks([features / name for name in before]) == before
    for file in sorted((made / "results/features").glob("*.h5")):
        assert file.read_bytes() == (features / file.name).read_bytes(), file.name


KILLED_BEFORE_THE_THIRD_NAME = """
import os, signal
from contextlib import contextmanager
from offsite.pathology.features import file
from offsite.workflows.cli import main

replacing, written = file.replacing, []

@contextmanager
def dying(path):
    with replacing(path) as temporary:
        yield temporary
        written.append(path)
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

file.replacing = dying
main()
"""


@pytest.mark.slow
def test_embedding_killed_before_a_file_has_its_name_leaves_nothing_behind(
    made: Path, fresh: Callable[..., Path]
) -> None:
    config = fresh("tiles", "tiles.csv")
    features = config.parent / "results" / "features"
    words = [sys.executable, "-c", KILLED_BEFORE_THE_THIRD_NAME, "embed", str(config)]
    killed_one = subprocess.run([*words, "--workers", "1"], capture_output=True, env=ENVIRONMENT)
    assert killed_one.returncode == -signal.SIGKILL
    before = marks(sorted(features.glob("*.h5")))
    assert len(before) == 2
    (half,) = features.glob(".*.h5.*.tmp")
    assert half.stat().st_size > 1000
    done = offsite("embed", config)
    assert done.returncode == 0, done.stderr
    assert marks([features / name for name in before]) == before
    wanted = sorted((made / "results/features").iterdir())
    assert sorted(file.name for file in features.iterdir()) == [file.name for file in wanted]
    for file in wanted:
        if file.suffix == ".h5":
            assert file.read_bytes() == (features / file.name).read_bytes(), file.name


def test_killed_training_goes_on(made: Path, fresh: Callable[..., Path]) -> None:
    config = fresh("tiles", "tiles.csv", "features")
    run = config.parent / "results" / RUN
    curves = run / "curves.jsonl"

    def some_epochs() -> bool:
        return curves.is_file() and curves.read_text().count("\n") >= 4

    killed(some_epochs, "train", config)
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    done = offsite("train", config)
    assert done.returncode == 0, done.stderr
    wanted = made / "results" / RUN
    found, expected = (load_file(folder / "weights.safetensors") for folder in (run, wanted))
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    epochs = [json.loads(line)["epoch"] for line in curves.read_text().splitlines()]
    assert epochs == list(range(12))
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "predictions.parquet"),
        pd.read_parquet(wanted / "predictions.parquet"),
    )


def test_a_changed_slide_makes_its_own_results_stale_alone(fresh: Callable[..., Path]) -> None:
    config = fresh("tiles", "tiles.csv", "features")
    slides = Job.load(config).cohort.image_paths()
    changed, donor = slides[0], slides[1]
    data = donor.read_bytes()
    changed.unlink()  # it is a link to the undisturbed job's slide
    changed.write_bytes(data)
    results = config.parent / "results"
    before = marks(sorted(results.glob("tiles/*.json")) + sorted(results.glob("features/*.h5")))
    for stage in ("tile", "embed"):
        assert offsite(stage, config).returncode == 0
    after = marks([*results.glob("tiles/*.json"), *results.glob("features/*.h5")])
    redone = {name for name in after if after[name] != before[name]}
    assert redone == {f"{changed.stem}.json", f"{changed.stem}.h5"}


def test_parts_join_to_the_whole(made: Path, fresh: Callable[..., Path]) -> None:
    config = fresh()
    for part in ("2/2", "1/2"):
        assert offsite("tile", config, "--part", part).returncode == 0
    early = offsite("tile", config, "--join", "3")
    assert early.returncode == 2
    assert "part 1 of 3 is missing" in early.stderr
    assert offsite("tile", config, "--join", "2").returncode == 0
    same_tables(config.parent / "results/tiles.csv", made / "results/tiles.csv")


def test_tiles_for_qupath_and_as_pictures_of_every_slide(fresh: Callable[..., Path]) -> None:
    config = fresh("tiles", "tiles.csv")
    done = offsite("tile", config, "--geojson", "--pictures")
    assert done.returncode == 0, done.stderr
    folder = config.parent / "results" / "tiles"
    slides = Job.load(config).cohort.table["slide"]
    assert {file.stem for file in folder.glob("*.geojson")} == set(slides)
    page = (folder.parent / "tiles.html").read_text()
    assert all(f'data-slide="{slide}"' in page for slide in slides)
    assert {file.name for file in folder.glob("*.tiles.jpg")} == {f"{s}.tiles.jpg" for s in slides}
    features = json.loads((folder / f"{slides[0]}.geojson").read_text())["features"]
    tiles = pd.read_parquet(folder / f"{slides[0]}.parquet")
    assert sum(f["properties"]["objectType"] == "tile" for f in features) == len(tiles)


def test_a_bad_slide_is_a_row_and_exit_code_3(fresh: Callable[..., Path]) -> None:
    config = fresh("tiles", "tiles.csv")
    slide = Job.load(config).cohort.image_paths()[0]
    slide.unlink()
    slide.write_text("not a slide")
    done = offsite("tile", config)
    assert done.returncode == 3
    assert slide.stem in done.stderr
    table = pd.read_csv(config.parent / "results" / "tiles.csv", keep_default_na=False)
    assert table["status"].value_counts().to_dict() == {"done": 17, "failed": 1}
    assert table["message"][table["status"] == "failed"].str.len().min() > 20


def test_evaluate_track_and_register_a_run(made: Path) -> None:
    config = made / "job.yaml"
    done = offsite("evaluate", made / "results" / RUN)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()
    first, again = offsite("track", config), offsite("track", config)
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    registered = offsite("register", config)
    assert registered.stdout == "models:/offsite/1\n", registered.stderr
    assert offsite("register", config).stdout == "models:/offsite/1\n"


def test_a_run_that_is_not_there_is_refused_in_a_sentence(made: Path) -> None:
    done = offsite("register", made)
    assert done.returncode == 2
    assert "not a run folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_gate_refuses_by_name_and_an_override_is_kept(made: Path, tmp_path: Path) -> None:
    rules = tmp_path / "gate.yaml"
    rules.write_text("rules:\n  - {rule: minimum_n, patients: 500, sites: held_out}\n")
    assert offsite("evaluate", made / "results" / RUN).returncode == 0
    refused = offsite("register", made / "results" / RUN, "--name", "gated", "--gate", rules)
    assert refused.returncode == 4, refused.stderr
    assert "cedar" in refused.stderr
    assert "not promoted" in refused.stderr
    short = offsite("register", made / "job.yaml", "--name", "gated", "--gate", rules,
                    "--override", "because")  # fmt: skip
    assert short.returncode == 2
    assert "written reason" in short.stderr
    why = "Dr Example: pilot at cedar with double reading"
    allowed = offsite("register", made / "job.yaml", "--name", "gated", "--gate", rules,
                      "--override", why)  # fmt: skip
    assert allowed.returncode == 0, allowed.stderr
    from offsite.evaluation.tracking.champion import champion_of
    from offsite.evaluation.tracking.logging import client_of
    from offsite.evaluation.tracking.registry import find_version

    uri = Job.load(made / "job.yaml").tracking_uri
    champion = champion_of(uri, "gated")
    assert champion == "1"
    tags = find_version(client_of(uri), "models:/gated@champion").tags
    assert (tags["gate.verdict"], tags["gate.override"]) == ("overridden", why)


def test_the_report_says_how_the_images_were_made(made: Path) -> None:
    run = made / "results" / RUN
    assert offsite("evaluate", run).returncode == 0
    acquisition = pd.read_csv(run / "evaluation" / "acquisition.csv").set_index("site")
    assert acquisition.loc["cedar", "mpp_min"] == pytest.approx(0.345)
    assert acquisition["tile_um_min"].to_numpy() == pytest.approx(64, rel=0.01)
    flow = pd.read_csv(run / "evaluation" / "cohort_flow.csv")
    assert flow["n"].sum() == 18
    assert "How the images were made" in (run / "evaluation" / "report.html").read_text()
