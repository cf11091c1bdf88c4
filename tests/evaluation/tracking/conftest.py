"""What a run is logged and registered with."""

import json
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def per_site() -> pd.DataFrame:
    rows = [
        ("Hôpital A", "training", "auroc", 0.9, 0.8, 0.95, 100, 30),
        ("Hôpital A", "training", "severe/prevalence", 0.3, 0.2, 0.4, 100, 30),
        ("Hôpital A", "training", "severe/specificity", 0.9, 0.8, 0.95, 70, 0),
        ("Clinic B", "held_out", "auroc", None, None, None, 12, 0),
        ("_pooled", "all", "auroc", 0.85, 0.8, 0.9, 112, 30),
        ("_worst", "all", "auroc", 0.9, 0.8, 0.95, 100, 30),
        ("_gap", "held_out", "auroc", float("nan"), None, float("inf"), 12, 0),
    ]
    names = ["site", "site_role", "metric", "value", "low", "high", "n", "n_positive"]
    return pd.DataFrame(rows, columns=names).assign(split="test")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({"name": "tumour", "classes": ["a", "b"]}))
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "parts" / "notes.txt").write_text("kept too")
    return folder
