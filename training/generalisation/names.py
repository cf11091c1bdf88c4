"""The algorithms of domain generalisation by name, known without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """An algorithm over any backbone and classifier.

    Attributes
    ----------
    address : str
        ``"module:class"`` of an `offsite.training.generalisation.objectives.SiteObjective`, or, of
        what changes the items of a batch, of an `offsite.training.generalisation.erm.ERM`.
    batches : {"instance", "sites"}
        ``sites``: batches hold as many items of each site, for what compares sites.
    about : str
        One line.
    """

    address: str
    batches: Literal["instance", "sites"]
    about: str


_HERE = "offsite.training.generalisation"

ALGORITHMS = {
    "erm": Kind(f"{_HERE}.erm:ERM", "instance", "plain training, every item once"),
    "mixup": Kind(f"{_HERE}.mixup:Mixup", "instance", "mixes items and labels"),
    "mixstyle": Kind(
        f"{_HERE}.mixing:MixStyleERM", "instance", "mixes feature statistics of early stages"
    ),
    "coral": Kind(f"{_HERE}.coral:CORAL", "sites", "equal means and covariances of embeddings"),
    "group_dro": Kind(f"{_HERE}.group_dro:GroupDRO", "sites", "weights the sites that do worst"),
    "irm": Kind(f"{_HERE}.invariance:IRM", "sites", "one classifier optimal at every site"),
    "vrex": Kind(f"{_HERE}.invariance:VREx", "sites", "equal risks"),
    "fishr": Kind(f"{_HERE}.invariance:Fishr", "sites", "equal variances of gradients"),
}
