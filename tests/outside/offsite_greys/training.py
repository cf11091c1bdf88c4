"""One run of grey pictures, with the algorithms and samplers of offsite's training."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from offsite.files import digest_of
from offsite.training.algorithm import Algorithm
from offsite.training.fit.result import FitResult
from offsite.training.fit.settings import outcome_settings
from offsite.training.generalisation.making import make_algorithm
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings
from offsite.training.samplers.plans import PlannedSource
from offsite.training.samplers.settings import make_plan
from offsite.training.train_run import Answers, fit_by_steps
from offsite_greys.network import Network, backbone

COLUMNS = ["image", "slide", "patient", "site", "site_role", "split", "label"]


@dataclass(frozen=True)
class GreyBatch:
    """Pictures (B x 1 x S x S), their classes and training sites."""

    pixels: Tensor
    labels: Tensor
    sites: Tensor

    def to(self, device: torch.device | str) -> "GreyBatch":
        """Return the batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return replace(self, **moved)

    def __len__(self) -> int:
        return len(self.labels)


class GreyRun:
    """The pictures of a run; see `offsite.training.train_run.RunItems`."""

    task, version = "greys", 1

    def __init__(self, cohort: Any, folder: Path, shrunk: pd.DataFrame, settings: Any) -> None:
        self.cohort, self.classes, self.settings = cohort.table, cohort.classes, settings
        usable = self.cohort["slide"].isin(shrunk.loc[shrunk["status"] == "ok", "slide"])
        self.table = self.cohort[usable].reset_index(drop=True)
        said = shrunk.set_index("slide")[["status", "code", "message"]]
        self.excluded = self.cohort.loc[~usable, COLUMNS].join(said, on="slide")
        self.pixels = np.stack([np.load(folder / f"{slide}.npy") for slide in self.table["slide"]])
        self.labels = cohort.with_table(self.table).label_indices
        trained = self.table.loc[self._rows("train"), "site"]
        number = {site: index for index, site in enumerate(sorted(trained.unique()))}
        self.sites = self.table["site"].map(number).fillna(-1).to_numpy(np.int64)

    def _rows(self, split: str) -> np.ndarray:
        inside = (self.table["split"] == split) & (self.table["site_role"] == "training")
        return np.flatnonzero(inside.to_numpy() & (self.labels >= 0))

    def inputs(self) -> dict[str, Any]:
        """Return what the weights and answers depend on."""
        rows = self.table[COLUMNS].astype(str).to_dict("list")
        pixels = digest_of([self.pixels.shape, self.pixels.tobytes().hex()])
        return {"settings": outcome_settings(self.settings), "pictures": pixels, "rows": rows}

    def training_labels(self) -> np.ndarray:
        """Return the class of each training picture."""
        return self.labels[self._rows("train")]

    def validation_labels(self) -> np.ndarray:
        """Return the class of each validation picture."""
        return self.labels[self._rows("val")]

    def validation_patients(self) -> list[str]:
        """Return the patient of each validation picture."""
        return self.table["patient"].iloc[self._rows("val")].tolist()

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Train the method's network."""
        settings, rows = self.settings, self._rows("train")
        torch.manual_seed(settings.fit.seed)
        general = settings.general.model_copy(update={"kind": settings.method})
        loss = ClassificationLoss(LossSettings(), np.bincount(self.labels[rows]))
        classifier = nn.Linear(settings.width, len(self.classes))
        sites = self.sites[rows]
        algorithm = make_algorithm(
            general, backbone(settings.width), classifier, loss, int(sites.max()) + 1
        )
        plan = make_plan(
            settings.sampler, self.labels[rows], sites, self.table["patient"].to_numpy()[rows],
            batch_size=16, epochs=settings.fit.epochs, seed=settings.fit.seed,
        )  # fmt: skip
        source = PlannedSource(plan, lambda items, epoch, times: self._batch(rows[items]))
        return fit_by_steps(
            self, algorithm, source, settings.fit, folder, loss=loss, validate=self._scores,
            fingerprint=fingerprint,
        )  # fmt: skip

    def _batch(self, rows: np.ndarray) -> GreyBatch:
        return GreyBatch(
            torch.from_numpy(self.pixels[rows])[:, None],
            torch.from_numpy(self.labels[rows]),
            torch.from_numpy(self.sites[rows]),
        )

    def _scores(self, algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
        rows = self._rows("val")
        with torch.no_grad():
            logits = algorithm(self._batch(rows)).logits
        labels = torch.from_numpy(self.labels[rows])
        return {"loss": float(nn.functional.cross_entropy(logits, labels)) if len(rows) else None}

    def answers(self, result: FitResult) -> Answers:
        """Answer every picture."""
        from safetensors.torch import load_file

        architecture = {"width": self.settings.width, "n_classes": len(self.classes)}
        logits, embedding = Network(load_file(result.weights), architecture).answers(self.pixels)
        shares = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        facts = {"architecture": architecture, "pictures": len(self.table)}
        return Answers(self.table[COLUMNS], shares, logits, embedding, facts)
