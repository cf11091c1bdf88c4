"""A run on kept maps: frozen first stages, or the trunk on crops, see every copy once for all runs."""

import numpy as np
import torch

from offsite.files import digest_of
from offsite.preprocessing.augment.fundus import Augmentation
from offsite.retina.by_steps import BatchLoader, PhotographRun, views_of
from offsite.retina.inference import Graded, graded_of
from offsite.retina.methods import Method
from offsite.retina.networks.classifier import FundusClassifier
from offsite.retina.networks.crops import CropBackbone
from offsite.retina.networks.trunk_backbone import TrunkBackbone
from offsite.retina.photographs.kept_maps import AS_IT_IS, KeptMaps
from offsite.retina.photographs.source import KeptMapLoader
from offsite.retina.validation import epoch_scores
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit.loop import Validate
from offsite.training.generalisation.erm import ERM
from offsite.training.trunk.weights import content_digest, trunk_state

_BATCH = 64


class PartlyFrozenRun(PhotographRun):
    """Photographs as frozen stages, or crops of them as the trunk, see them; see `offsite.training.train_run.RunItems`.

    Of crops the whole trunk's statistics are kept, of every photograph and exactly, so that answers need
    no second reading.
    """

    def begun(self, method: Method) -> ERM:
        """Return the method's algorithm, fresh, with all read that it learns from."""
        algorithm = super().begun(method)
        backbone, settings = algorithm.backbone, self.settings.backbone
        assert isinstance(backbone, TrunkBackbone | CropBackbone)
        read = {"frozen_stages", "crops", "crop_px", "stages", "statistics"}
        of = [content_digest(trunk_state(settings.weights)),
              settings.model_dump(mode="json", include=read)]  # fmt: skip
        self._crops = isinstance(backbone, CropBackbone)
        kind = torch.float32 if self._crops else torch.float16
        self._kept = KeptMaps(
            self.photographs, self.prepared_folder, backbone.reader(),
            digest_of([*of, *["float32"] * self._crops]), kind,
        )  # fmt: skip
        distributed.rank_zero_first(lambda: self._read(views_of(method, self.settings)))
        if isinstance(backbone, CropBackbone):
            self._standardise(backbone)
        return algorithm

    def _standardise(self, backbone: CropBackbone) -> None:
        """By one augmented copy of each training photograph."""
        rows = self.photographs.rows("train")
        maps = self._kept.maps(rows, self.settings.augmentation, [0] * len(rows))
        backbone.standardise(maps.permute(0, 2, 3, 1).flatten(0, 2))

    def _read(self, augmented: list[Augmentation]) -> None:
        answered = self.photographs.rows("val")
        if self._crops:
            answered = np.arange(len(self.photographs.table))
        self._kept.read(answered, AS_IT_IS, 1)
        for name in augmented:
            copies = self.settings.backbone.frozen_copies
            self._kept.read(self.photographs.rows("train"), name, copies)

    def loader(self, method: Method) -> BatchLoader:
        """Return what loads the batches of a run that has begun."""
        return KeptMapLoader(
            self._kept,
            self.settings.backbone.frozen_copies,
            self.photographs,
            self.photographs.rows("train"),
            self.settings.fit.seed,
            views_of(method, self.settings),
        )

    def _graded(self, network: FundusClassifier, rows: np.ndarray) -> Graded:
        if not self._crops:
            return super()._graded(network, rows)
        device = next(network.parameters()).device
        parts = np.split(rows, range(_BATCH, len(rows), _BATCH))
        with torch.inference_mode():
            outputs = [
                network(self._kept.maps(part, AS_IT_IS, [0] * len(part)).to(device))
                for part in parts
            ]
        return graded_of(outputs)

    def _validator(self) -> Validate | None:
        rows = self.photographs.rows("val")
        if not len(rows):
            return None

        @torch.inference_mode()
        def validate(algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
            assert isinstance(algorithm, ERM)
            backbone, outputs = algorithm.backbone, []
            assert isinstance(backbone, TrunkBackbone | CropBackbone)
            with backbone.watched() as stages:
                for start in range(0, len(rows), _BATCH):
                    part = rows[start : start + _BATCH]
                    maps = self._kept.maps(part, AS_IT_IS, [0] * len(part))
                    embedding = backbone(maps.to(next(algorithm.parameters()).device))
                    outputs.append((embedding, algorithm.classifier(embedding)))
            embeddings, logits = (
                torch.cat(each).float().cpu().numpy() for each in zip(*outputs, strict=True)
            )
            labels, sites = self.photographs.labels[rows], self.photographs.sites[rows]
            seen = [torch.cat(means).numpy() for means in stages[backbone.frozen :]]
            return epoch_scores(logits, embeddings, seen, labels, sites, backbone.frozen)

        return validate
