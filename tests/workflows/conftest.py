"""Two small runs, made once: synthetic images of three sites to a trained and packaged model."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SlideRun:
    cohort: Path
    run: Path
    package: Path


@pytest.fixture(scope="session")
def slide_run(tmp_path_factory: pytest.TempPathFactory) -> SlideRun:
    from offsite.files import read_json
    from offsite.pathology.features.embedding import embed_cohort
    from offsite.pathology.settings import PathologySettings
    from offsite.pathology.tile_encoders.registry import EncoderSettings
    from offsite.pathology.training import train_pathology
    from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
    from offsite.preprocessing.cohort.table import load_cohort
    from offsite.preprocessing.synthetic.slides.biology import CLASSES
    from offsite.preprocessing.synthetic.slides.cohort import (
        SyntheticSlideSettings,
        make_slide_cohort,
    )
    from offsite.preprocessing.synthetic.slides.sites import SITES
    from offsite.preprocessing.tiles.table import TileSettings
    from offsite.preprocessing.tiles.tiling import tile_cohort
    from offsite.workflows.package.making import ModelFacts, package_run

    folder = tmp_path_factory.mktemp("slide-run")
    settings = SyntheticSlideSettings(
        sites=SITES[:3], patients=15, slides_per_patient=(1, 1), width_um=380, height_um=380,
        class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7,
    )  # fmt: skip
    make_slide_cohort(folder / "cohort", settings, workers=1)
    cohort = load_cohort(folder / "cohort" / "cohort.csv", CLASSES)
    cohort = split_cohort(cohort, SplitSettings(held_out_sites=(SITES[2].name,), val=0.3, test=0.2))
    tiles = TileSettings(tile_px=128, min_tissue=0.3)
    encoder = EncoderSettings(name="structure_baseline", tile_px=128)  # seconds less than the trunk
    tile_cohort(cohort, folder, tiles)
    embed_cohort(cohort, folder, folder / "features", encoder)
    train_pathology(
        cohort, folder / "features",
        PathologySettings(fit={"epochs": 2}, batch_size=4, instances=16),
        folder / "run",
    )  # fmt: skip
    architecture = read_json(folder / "run" / "run.json")["facts"]["architecture"]
    facts = ModelFacts(
        name="small slides", task="slides", target="synthetic grade",
        architecture=architecture["name"], architecture_settings=architecture,
        preprocessing={"tiles": tiles.model_dump(mode="json"),
                       "encoder": encoder.model_dump(mode="json")},
        mpp=tiles.mpp,
    )  # fmt: skip
    package = package_run(folder / "run", None, folder / "package", facts)
    return SlideRun(folder / "cohort" / "cohort.csv", folder / "run", package)


@dataclass(frozen=True)
class FundusRun:
    cohort: Path
    run: Path
    package: Path


@pytest.fixture(scope="session")
def fundus_run(tmp_path_factory: pytest.TempPathFactory) -> FundusRun:
    from offsite.files import read_json
    from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
    from offsite.preprocessing.cohort.table import load_cohort
    from offsite.preprocessing.fundus.cohort import prepare_cohort
    from offsite.preprocessing.fundus.photograph import FundusSettings
    from offsite.preprocessing.synthetic.fundus.cohort import (
        SyntheticFundusSettings,
        make_fundus_cohort,
    )
    from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
    from offsite.retina.settings import RetinaSettings
    from offsite.retina.training import train_retina
    from offsite.workflows.package.making import ModelFacts, package_run

    folder = tmp_path_factory.mktemp("fundus-run")
    settings = SyntheticFundusSettings(clinics=CLINICS[:3], patients_per_site=22, px=72)
    make_fundus_cohort(folder / "cohort", settings)
    cohort = load_cohort(folder / "cohort" / "cohort.csv", GRADES)
    held_out = CLINICS[2].name
    cohort = split_cohort(cohort, SplitSettings(held_out_sites=(held_out,), val=0.4, test=0.1))
    fundus = FundusSettings(px=48)
    prepare_cohort(cohort, folder / "prepared", fundus, workers=1)
    chosen = RetinaSettings(method="erm", backbone={"width": 8}, fit={"epochs": 2}, batch_size=16)
    train_retina(cohort, folder / "prepared", chosen, folder / "run")
    architecture = read_json(folder / "run" / "run.json")["facts"]["architecture"]
    facts = ModelFacts(
        name="small fundus", task="photographs", target="diabetic retinopathy, ICDR grade",
        architecture="fundus_classifier", architecture_settings=architecture,
        preprocessing={"fundus": fundus.model_dump(mode="json")},
        field_of_view=45, ordinal=True, positive=GRADES[2:], urgent=GRADES[3:],
    )  # fmt: skip
    package = package_run(folder / "run", None, folder / "package", facts)
    return FundusRun(folder / "cohort" / "cohort.csv", folder / "run", package)


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder for servers that run as users of their own; pytest closes its folders to others."""
    folder = Path(tempfile.mkdtemp(prefix="offsite-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
