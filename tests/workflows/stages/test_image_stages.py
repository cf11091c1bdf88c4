"""Parts of a stage and what a stage reads: nothing of another cohort or other settings goes on."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from offsite.errors import InputError
from offsite.preprocessing.fundus.grades import GRADES
from offsite.preprocessing.tiles.table import SlideRecord, SlideTiles, TileSettings, save_tiles
from offsite.workflows.commands import stages
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages import images as image_stages
from offsite.workflows.stages import training as training_stage
from offsite.workflows.stages.image_tables import image_tables


def job_of(folder: Path, task: str, images: int = 2, **settings: object) -> Job:
    rows = [
        {"image": f"{n}.png", "patient": n, "site": "a", "label": GRADES[n % 2]}
        for n in range(images)
    ]
    for row in rows:
        cv2.imwrite(str(folder / str(row["image"])), np.zeros((40, 40, 3), np.uint8))
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    values = {"task": task, "cohort": "cohort.csv", "classes": list(GRADES[:2])} | settings
    (folder / "job.yaml").write_text(yaml.safe_dump(values))
    return Job.load(folder / "job.yaml")


def test_a_part_that_no_image_falls_to_is_empty_and_joins(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pathology")
    for stage in ("tile", "embed"):
        for number in (1, 2, 3):
            table = image_stages.run(job, stage, part=(number, 3))
            assert len(table) == (number < 3)
        joined = image_stages.join(job, stage, 3)
        assert joined["slide"].astype(str).tolist() == ["0", "1"]
        assert set(joined["status"]) == {"failed"}  # no slide, but each has its row
    retina = job_of(tmp_path, "retina")
    stages._end(image_stages.run(retina, "prepare", part=(3, 3)))


def test_parts_of_another_cohort_are_not_joined(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pathology")
    for number in (1, 2):
        image_stages.run(job, "tile", part=(number, 2))
    for images in (1, 3):
        with pytest.raises(InputError) as caught:
            image_stages.join(job_of(tmp_path, "pathology", images), "tile", 2)
        assert caught.value.code == "other_cohort"


def test_tiles_of_other_settings_are_neither_embedded_nor_trained_on(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pathology", tiles={"min_tissue": 0.3})
    other = TileSettings().digest()
    record = SlideRecord(slide="0", image="0.png", status="no_tissue", settings_digest=other)
    save_tiles(job.output, SlideTiles(pd.DataFrame({"x": [], "y": [], "status": []}), record))
    for stage in (image_stages.run, lambda job, _: training_stage.train(job, job.cell())):
        with pytest.raises(InputError) as caught:
            stage(job, "embed")
        assert caught.value.code == "other_settings"
        pd.DataFrame({"slide": ["0"], "settings_digest": [other]}).to_csv(job.output / "tiles.csv")


def test_tiles_of_another_scale_than_the_cohort_gives_are_not_embedded(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pathology", images=1)
    image_stages.run(job, "tile")
    assert len(image_stages.run(job, "embed")) == 1
    (tmp_path / "cohort.csv").write_text("image,patient,site,label,mpp\n0.png,0,a,none,0.25\n")
    with pytest.raises(InputError) as caught:
        image_stages.run(Job.load(job.file), "embed")
    assert caught.value.code == "other_settings"
    image_stages.run(Job.load(job.file), "tile")
    image_stages.run(Job.load(job.file), "embed")


def test_sites_that_are_numbers_keep_their_names_in_the_report(tmp_path: Path) -> None:
    job = job_of(tmp_path, "retina")
    table = pd.read_csv(job.cohort_path, dtype=str)
    table.assign(site="007").to_csv(job.cohort_path, index=False)
    job = Job.load(job.file)
    image_stages.run(job, "prepare")
    quality = image_tables(job)["quality"]
    assert set(quality["site"]) == {"007"}
    assert quality.set_index("measure").loc["not readable", "rate"] == 1


def test_photographs_of_other_settings_are_not_trained_on(tmp_path: Path) -> None:
    image_stages.run(job_of(tmp_path, "retina", preparation={"px": 64}), "prepare")
    changed = job_of(tmp_path, "retina", preparation={"px": 64, "enhancement": "clahe"})
    with pytest.raises(InputError) as caught:
        training_stage.train(changed, changed.cell())
    assert caught.value.code == "other_settings"
    assert "offsite workflow prepare" in caught.value.remedy
