"""A graded linear head on the frozen trunk: the network of method `linear`."""

from typing import Literal

import torch
from torch import Tensor, nn

from offsite.retina.photographs.batches import pixels_of
from offsite.training.algorithm import Output
from offsite.training.heads.cut_points import CutPoints
from offsite.training.heads.ordinal import GradeHead
from offsite.training.trunk.reading import (
    TrunkReader,
    statistic_maps,
    statistics_of,
)
from offsite.training.trunk.settings import TrunkReadingSettings

Head = Literal["grade", "classes"]


class LinearClassifier(nn.Module):
    """Logits of a linear grade of the trunk's statistics.

    It answers as a `FundusClassifier` does, so everything after training is the same for both.

    Parameters
    ----------
    reading : TrunkReadingSettings
        Which statistics; they are the embedding.
    n_classes : int
        C >= 2, in order.
    head : str
        ``grade``: one grade, cut into classes; ``classes``: a logit for each class.

    Examples
    --------
    >>> import torch
    >>> network = LinearClassifier(TrunkReadingSettings(stages="last"), 5).eval()
    >>> output = network(torch.zeros(2, 3, 64, 64))
    >>> tuple(output.logits.shape), tuple(output.embedding.shape)
    ((2, 5), (2, 640))
    """

    def __init__(self, reading: TrunkReadingSettings, n_classes: int, head: Head = "grade") -> None:
        super().__init__()
        self.reader = TrunkReader(reading)
        made = GradeHead if head == "grade" else nn.Linear
        self.classifier: nn.Module = made(reading.dimensions, n_classes)

    def forward(self, pixels: Tensor) -> Output:
        """Return logits (B x C) and embedding (B x E) of normalised pixels (B x 3 x H x W)."""
        return self.of_embedding(self.reader(pixels_of(pixels)))

    def of_embedding(self, embedding: Tensor) -> Output:
        """Return the output of statistics that were read before (B x E)."""
        return Output(logits=self.classifier(embedding), embedding=embedding)

    def with_map(self, pixels: Tensor) -> tuple[Output, Tensor]:
        """Return the same, and what each place adds to the embedding (B x E x h x w)."""
        maps = self.reader.maps(pixels_of(pixels))
        settings = self.reader.settings
        return self.of_embedding(statistics_of(maps, settings)), statistic_maps(maps, settings)

    def set_head(self, slope: Tensor, start: float, cuts: CutPoints) -> None:
        """Take a fitted grade: its coefficients (E), what is added, and where it is cut."""
        assert isinstance(self.classifier, GradeHead)
        with torch.no_grad():
            self.classifier.grade_of.weight.copy_(slope[None])
            self.classifier.grade_of.bias.fill_(start)
        self.classifier.set_cut_points(cuts)

    def set_classes(self, slopes: Tensor, starts: Tensor) -> None:
        """Take fitted logits: coefficients (E x C) and what is added (C)."""
        assert isinstance(self.classifier, nn.Linear)
        with torch.no_grad():
            self.classifier.weight.copy_(slopes.T)
            self.classifier.bias.copy_(starts)
