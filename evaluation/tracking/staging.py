"""A model package beside the ``MLmodel`` file that lets MLflow load it with the installed offsite."""

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offsite.files import read_json

LOADER = "offsite.workflows.serving"
FOLDER = "package"


def stage_model(
    source: Path,
    staged: Path,
    loader_module: str = LOADER,
    outputs: Mapping[str, str] | None = None,
) -> None:
    """Copy a package beside an ``MLmodel``: the folder that MLflow loads a model from.

    Parameters
    ----------
    source : path
        The package.
    staged : path
        Folder to make.
    loader_module, outputs
        See `offsite.evaluation.tracking.registry.register_package`.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    shutil.copytree(source, staged / FOLDER)
    asked: list[ColSpec | TensorSpec] = [
        ColSpec("string", "image"),
        ColSpec("string", "site", required=False),
    ]
    # None of them is required: an image without an answer has no numbers.
    told: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name, required=False) for name, kind in (outputs or {}).items()
    ]
    answer = Schema(told) if told else None
    model = Model(
        signature=ModelSignature(inputs=Schema(asked), outputs=answer),
        metadata={"model": _summary(source)},
    )
    model.add_flavor(
        "python_function",
        loader_module=loader_module,
        data=FOLDER,
        python_version=_python(),
        env={"virtualenv": "python_env.yaml"},
    )
    model.save(str(staged / "MLmodel"))
    # Explicit: letting MLflow guess would import the model in a subprocess and record all it sees.
    requirement = f"offsite=={importlib.metadata.version('offsite')}"
    (staged / "requirements.txt").write_text(f"{requirement}\n", encoding="utf-8")
    (staged / "python_env.yaml").write_text(
        f"python: {_python()}\ndependencies:\n  - -r requirements.txt\n", encoding="utf-8"
    )


def _python() -> str:
    return platform.python_version()


def _summary(source: Path) -> dict[str, Any]:
    content = read_json(source / "model.json")
    return {key: value for key, value in content.items() if isinstance(value, str | int | float)}
