"""The example package as installed, and a job of pictures that it makes itself."""

import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GATE = {
    "rules": [
        {"rule": "minimum_n", "patients": 20, "number_of_sites": 1, "sites": "held_out"},
        {"rule": "worst_site", "metric": "auroc", "at_least": 0.6, "sites": "held_out"},
    ]
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave of the package what pip leaves of one, in a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "offsite_greys", site / "offsite_greys")
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    info = site / f"offsite_greys-{project['version']}.dist-info"
    info.mkdir()
    facts = {"Metadata-Version": "2.1", "Name": project["name"], "Version": project["version"]}
    (info / "METADATA").write_text("".join(f"{name}: {fact}\n" for name, fact in facts.items()))
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {address}" for name, address in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture(scope="session")
def installed(site: Path) -> dict[str, str]:
    """The environment of a process that sees the package."""
    before = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT), before])}


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three sites, plain or striped, each site with its own brightness and contrast."""
    folder, rng = tmp_path_factory.mktemp("job"), np.random.default_rng(0)
    rows = []
    for number in range(90):
        site, striped = number % 3, number // 3 % 2
        pattern = striped * 60.0 * (np.arange(24) // 3 % 2)[:, None]
        pixels = (90 + 30 * site) + (1 - 0.25 * site) * pattern + rng.normal(0, 9, (24, 24))
        name = f"picture-{number}.png"
        Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(folder / name)
        label = ("plain", "striped")[striped]
        rows.append((name, f"p{number}", ("ash", "box", "cob")[site], label))
    (folder / "torn.png").write_bytes(b"not a picture")
    rows.append(("torn.png", "p90", "ash", "plain"))
    table = pd.DataFrame(rows, columns=["image", "patient", "site", "label"])
    table.to_csv(folder / "cohort.csv", index=False)
    settings = {
        "task": "greys", "cohort": "cohort.csv", "classes": ["plain", "striped"],
        "splits": {"held_out_sites": ["cob"], "val": 0.2, "test": 0.3},
        "training": {
            "method": "coral", "fit": {"epochs": 30, "learning_rate": 0.02},
            "sampler": {"by": "site_class", "exponent": 0.0},
        },
        "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
        "decision": {"name": "striped"},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    (folder / "gate.yaml").write_text(yaml.safe_dump(GATE))
    return folder / "job.yaml"
