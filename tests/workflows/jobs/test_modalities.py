"""Modalities are composed into jobs by name; those of other packages are refused by name too."""

import re
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.training.trials import Trial
from offsite.workflows import doctor
from offsite.workflows.jobs.configuration import configuration_model, validate_configuration
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import (
    OWN,
    modality_named,
    modality_names,
    modality_reading,
)
from offsite.workflows.pipeline.inputs import settings_of, stages_of
from offsite.workflows.stages import images

ROOT = Path(__file__).parents[3]
PACKAGE = """
import pandas as pd
from pydantic import Field
from offsite.training.fit.settings import FitSettings
from offsite.training.modality import ImageStage, JobPart, Modality, Overlay, TrainingSettings

class GreySettings(TrainingSettings):
    method: str = "mean"
    fit: FitSettings = FitSettings()
    def check_method(self, method, n_classes):
        assert method == "mean"

class GreyJob(JobPart):
    shrink: int = Field(2, description="Pixels to one")
    training: GreySettings = Field(default_factory=GreySettings, description="Method")

def shrunk(job, workers, part, advance):
    rows = job.cohort.table.iloc[part[0] - 1 :: part[1]]
    table = rows[["slide", "image", "site"]].assign(status="ok", code="", message="")
    job.output.mkdir(exist_ok=True)
    name = "grey.csv" if part[1] == 1 else f"grey.part-{part[0]}-of-{part[1]}.csv"
    table.to_csv(job.output / name, index=False)
    return table

MODALITY = Modality(
    contract=CONTRACT_NUMBER, name="grey", reads="grey pictures", job_part=GreyJob,
    stages=(ImageStage(
        name="shrink", help="", settings=("shrink",), table="grey.csv", run=shrunk),),
    check_inputs=lambda job: None, train=lambda *given: None, image_tables=lambda job: {},
    package_facts=lambda *given: {}, predictor=None, formats=(), checks={}, bytes_to_do=lambda job: 0,
    overlay=Overlay("what", True, "caution"),
)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that brings a modality, as pip leaves one behind."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name="grey", module="grey_pictures", package="grey-pictures", contract="1"):
        code = PACKAGE.replace("CONTRACT_NUMBER", contract)
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{package.replace('-', '_')}-2.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text(
            f"[offsite.modalities]\n{name} = {module}:MODALITY\n"
        )

    yield install
    configuration_model.cache_clear()


def job(tmp_path):
    rows = [f"{i}.png,p{i},east,{'ab'[i % 2]}" for i in range(6)]
    (tmp_path / "cohort.csv").write_text("image,patient,site,label\n" + "\n".join(rows))
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(b"grey")
    (tmp_path / "job.yaml").write_text("{task: grey, cohort: cohort.csv, classes: [a, b]}")
    return Job.load(tmp_path / "job.yaml")


def test_a_modality_of_another_package_makes_a_job_of_its_stages(installed, tmp_path):
    installed(module="grey_job")
    grey = job(tmp_path)
    assert grey.configuration.shrink == 2
    assert stages_of(grey) == ("shrink",)
    assert settings_of(grey, "shrink") != settings_of(grey, "train")
    for number in (1, 2):
        images.run(grey, "shrink", part=(number, 2))
    assert len(images.join(grey, "shrink", 2)) == 6
    with pytest.raises(InputError, match="no stage 'tile'") as caught:
        images.run(grey, "tile")
    assert "shrink" in caught.value.remedy
    assert modality_reading("grey pictures").name == "grey"
    assert modality_names() == (*OWN, "grey")


def test_a_modality_whose_package_is_absent_is_refused_by_name():
    with pytest.raises(InputError, match="no modality is named 'grey'") as caught:
        modality_named("grey")
    assert caught.value.code == "unknown_modality"
    with pytest.raises(InputError, match="reads grey pictures"):
        modality_reading("grey pictures")
    with pytest.raises(InputError, match="task is 'grey'") as caught:
        validate_configuration({"task": "grey"}, Path("job.yaml"))
    assert "pathology" in caught.value.remedy


def test_a_modality_for_another_version_is_refused_by_name(installed):
    installed(module="grey_old", contract="0")
    with pytest.raises(InputError, match=r"'grey' of grey-pictures 2\.1") as caught:
        modality_named("grey")
    assert caught.value.code == "modality_version"


def test_the_doctor_names_the_package_that_is_to_be_mended(installed):
    installed(module="grey_sick", contract="0")
    found = doctor._tried(Trial("kinds of images", doctor._kinds, "Mend it"))
    assert not found.works
    assert "'grey' of grey-pictures 2.1" in found.told


def test_a_modality_that_cannot_be_imported_is_refused_by_name(installed):
    installed(module="grey_broken", contract="missing_name")
    with pytest.raises(InputError, match=r"'grey' of grey-pictures 2\.1.*NameError") as caught:
        modality_named("grey")
    assert caught.value.code == "modality_absent"


@pytest.mark.parametrize("name", ["grey", "retina"])
def test_a_modality_that_two_packages_bring_is_refused_by_name(installed, name):
    installed(name=name, module="grey_one", package="grey-one")
    installed(name=name, module="grey_two", package="grey-two")
    with pytest.raises(InputError, match=f"'{name}' is brought by") as caught:
        modality_named(name)
    assert caught.value.code == "modality_twice"


def test_workflows_names_no_modality_but_in_one_table():
    """All of workflows asks the modality; the demonstrations alone are of one each."""
    named = re.compile(r"offsite\.(pathology|retina)\b|\b(Pathology|Retina)[A-Z]|\bSlideJob\b")
    files = [
        file
        for file in (ROOT / "workflows").rglob("*.py")
        if file.parent.name != "demo" and file.name != "demo.py"
    ]
    assert len(files) > 80
    naming = {file.name for file in files if named.search(file.read_text(encoding="utf-8"))}
    assert naming == {"own_modalities.py"}
