"""The graded head of photographs fitted to the sums of other hospitals than it was."""

import numpy as np
import torch

from offsite.retina.inference import load_fundus_model
from offsite.retina.networks.linear import LinearClassifier
from offsite.training.heads.joining import HeadOfRun, KnownRows, RefittedHead
from offsite.training.heads.refit import cut_points_beside
from offsite.training.heads.sums import RowSums, fit_grades


@torch.inference_mode()
def refit_head(head: HeadOfRun, sums: RowSums, rows: KnownRows) -> RefittedHead:
    """Fit the grade to the sums; see `offsite.training.heads.joining.RefitHead`.

    The cut points are those of all hospitals together: of the validation photographs, whose grades
    are known, and of the rows behind the sums, of which the mean of each class and the common spread
    are known. The former weigh as much as so many photographs of the run do.
    """
    network = load_fundus_model(head.weights, dict(head.architecture))
    assert isinstance(network, LinearClassifier)
    ((slope, start),) = fit_grades(sums, [head.penalty])
    judged = rows.validation & (rows.labels >= 0)
    grades = rows.embeddings[judged].astype(np.float64) @ slope + start
    share = judged.sum() / len(rows.labels)
    of_sums = sums.scaled((1 - share) / sums.weights.sum())
    cuts = cut_points_beside(of_sums, slope, start, grades, rows.labels[judged], share)
    network.set_head(torch.from_numpy(slope).float(), start, cuts)
    logits = network.of_embedding(torch.from_numpy(rows.embeddings).float()).logits
    return RefittedHead(weights=network.state_dict(), logits=logits.numpy())
