"""What a run says of each photograph, and of itself."""

from typing import Any

import numpy as np

from offsite.retina.inference import Graded
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.training.train_run import Answers


def answers_of(
    photographs: RunPhotographs, graded: Graded, architecture: dict[str, Any], more: dict[str, Any]
) -> Answers:
    """Return the answer to each photograph, with what the run tells of itself.

    Parameters
    ----------
    architecture : dict
        JSON-able, with ``n_classes``.
    more : dict
        Further facts, JSON-able.
    """
    labels = photographs.labels[photographs.rows("train")]
    facts = {
        "architecture": architecture,
        "preparation": photographs.prepared.model_dump(mode="json"),
        "training_sites": list(photographs.training_sites),
        "training_photographs": np.bincount(labels, minlength=architecture["n_classes"]).tolist(),
        "photographs_predicted": len(photographs.table),
        "photographs_excluded": len(photographs.excluded),
        **more,
    }
    return Answers(
        photographs.table,
        graded.probabilities,
        graded.logits,
        graded.embeddings,
        facts,
        graded.trunk,
    )
