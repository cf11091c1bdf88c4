"""A small real model package, and the means to make others like it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from offsite.workflows.package.folder import write_package
from offsite.workflows.package.schema import (
    Architecture,
    DecisionRules,
    ModelRecord,
    OperatingPoint,
    SiteProfile,
    SiteResult,
)

CLASSES = ("none", "mild", "severe")


def small_record(**changes: Any) -> ModelRecord:
    point = OperatingPoint(threshold=0.3, origin="validation rows of the training sites", n=40)
    values: dict[str, Any] = {
        "name": "small",
        "task": "photographs",
        "target": "a made-up grade",
        "classes": CLASSES,
        "ordinal": True,
        "architecture": Architecture(name="tiny", settings={"width": 4}),
        "preprocessing": {"fundus": {"size_px": 32}},
        "decision": DecisionRules(positive=("mild", "severe"), urgent=("severe",)),
        "profiles": {
            "_pooled": SiteProfile(role="pooled", n=40, patients=20, referral=point),
            "north": SiteProfile(role="training", n=40, patients=20, referral=point),
        },
        "training_sites": ("north",),
        "patients": 20,
        "results": (
            SiteResult(split="test", site="north", metric="auroc", value=0.9, low=0.8, high=0.95),
            SiteResult(split="test", site="<script>", metric="auroc", reason="single_class"),
        ),
    }
    return ModelRecord(**{**values, **changes})


def small_weights() -> dict[str, torch.Tensor]:
    shared = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return {"a": shared, "tied": shared, "b": torch.tensor([1.5])}


def small_package(folder: Path, **changes: Any) -> Path:
    reference = {"ood/means": np.eye(3), "ood/names": np.array(["x", "y"]), "n": np.int64(3)}
    return write_package(folder, small_record(**changes), small_weights(), reference)
