"""Second stages: keep the learnt features, and give every class its due in the classifier alone.

Kang et al. 2020, arXiv 1910.09217, find that imbalance harms the classifier more than the
features: classifier re-training and tau-normalisation are theirs. Last-layer re-training on
balanced data follows Kirichenko et al. 2023, arXiv 2204.02937.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.training.algorithm import Algorithm, Output
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.randomness import generator


class ClassifierRetraining(Algorithm):
    """An algorithm whose classifier is trained anew on fixed features (stage two of cRT).

    Fit it with balanced batches (`training.samplers`). The trunk stays in evaluation mode, without
    dropout, its batch-norm statistics fixed. The weights saved are those of the whole algorithm, so
    inference does not know of the stages.

    Parameters
    ----------
    algorithm : Algorithm
        With the first stage's weights.
    classifier : str
        Name of its module that maps the embedding to logits, such as ``"classifier"``.
    loss : ClassificationLoss
        Of the second stage: plain cross-entropy where the batches are balanced.
    fresh : bool
        Whether the classifier starts anew (cRT) or from its first-stage weights. Anew means the
        ``reset_parameters`` of each of its layers, under torch's current seed.

    Raises
    ------
    InputError
        Code ``no_layer``: the algorithm has no such module.
    """

    def __init__(
        self, algorithm: Algorithm, classifier: str, loss: ClassificationLoss, *, fresh: bool = True
    ) -> None:
        super().__init__()
        modules = dict(algorithm.named_modules())
        if classifier not in modules:
            raise InputError(
                f"the algorithm has no module '{classifier}'",
                remedy=f"Name one of: {', '.join(name for name, _ in algorithm.named_children())}",
                code="no_layer",
            )
        self.algorithm, self.loss = algorithm, loss
        self._name = classifier
        algorithm.requires_grad_(False)
        self.classifier.requires_grad_(True)
        if fresh:
            for module in self.classifier.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()

    @property
    def classifier(self) -> nn.Module:
        """The module that is trained."""
        return self.algorithm.get_submodule(self._name)

    def train(self, mode: bool = True) -> Self:
        """Put the classifier alone in training mode."""
        super().train(mode)
        self.algorithm.eval()
        self.classifier.train(mode)
        return self

    def forward(self, batch: Any) -> Output:
        """Return logits and embedding of the whole algorithm."""
        out: Output = self.algorithm(batch)
        return out

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the loss of the classifier on fixed features."""
        with torch.no_grad():
            embedding = self.algorithm(batch).embedding
        logits = self.classifier(embedding)
        return {"loss": self.loss(logits, batch.labels, progress)}

    def inference_state(self) -> dict[str, Tensor]:
        """Return the weights of the whole algorithm under its own names."""
        return self.algorithm.inference_state()


def tau_normalised(weight: Tensor, tau: float) -> Tensor:
    """Return w_c / |w_c|^tau for each row of a classifier; its bias is to be dropped.

    Kang et al. 2020, equation 5: rare classes get short rows, and so low scores; tau = 1 makes all
    rows equally long, tau = 0 changes nothing.

    Parameters
    ----------
    weight : Tensor
        C x E.
    """
    return weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12) ** tau


def select_tau(
    embedding: Tensor,
    labels: Tensor,
    weight: Tensor,
    taus: Sequence[float] = tuple(np.arange(11) / 10),
) -> float:
    """Return the tau with the highest balanced accuracy on validation embeddings.

    Of equal ones the smallest, which changes the classifier least.
    """
    scores = [
        balanced_accuracy_score(
            labels.cpu().numpy(),
            (embedding @ tau_normalised(weight, tau).T).argmax(1).cpu().numpy(),
        )
        for tau in taus
    ]
    return float(taus[int(np.argmax(scores))])


def last_layer_on_balanced(
    embedding: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    strength: float = 1.0,
    n_fits: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (C x E) and bias (C) of a last layer fitted to group-balanced data.

    Each fit draws as many items of every group as the smallest has; weights and biases are averaged
    over fits (Kirichenko et al. 2023, section 4 and appendix). The authors penalise the L1 norm; a
    squared L2 penalty is used here, which has one minimum that is found fast.

    Parameters
    ----------
    embedding : array
        N x E, of items that the features were not trained on, where there are enough.
    labels : array
        N classes 0..C-1, each present.
    groups : array
        N, such as cells of site x class (`offsite.training.samplers.shares.cells_of`).
    strength : float
        Inverse of the penalty, > 0, on standardised features.
    n_fits, seed : int
        Number of balanced draws and their seed.

    Raises
    ------
    InputError
        Code ``one_class``: there is one class, so nothing to tell apart.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise InputError(
            "the last layer cannot be fitted to items of one class",
            remedy="Give items of at least two classes",
            code="one_class",
        )
    mean, deviation = embedding.mean(axis=0), embedding.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    _, group = np.unique(groups, return_inverse=True)
    fewest = np.bincount(group).min()
    weights, biases = [], []
    for fit in range(n_fits):
        order = generator(seed, fit).permutation(len(labels))
        place = np.empty(len(labels), dtype=np.int64)  # of an item among its group, in random order
        by_group = order[np.argsort(group[order], kind="stable")]
        starts = np.cumsum(np.bincount(group)) - np.bincount(group)
        place[by_group] = np.arange(len(labels)) - starts[group[by_group]]
        chosen = np.sort(np.flatnonzero(place < fewest))
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit((embedding[chosen] - mean) / deviation, labels[chosen])
        weight, bias = _for_every_class(model)
        weights.append(weight / deviation)
        biases.append(bias - (weight / deviation) @ mean)
    return np.mean(weights, axis=0), np.mean(biases, axis=0)


def _for_every_class(model: LogisticRegression) -> tuple[np.ndarray, np.ndarray]:
    """Return a row per class; with two classes scikit-learn keeps their difference alone."""
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
