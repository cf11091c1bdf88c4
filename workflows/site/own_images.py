"""What counts as foreign at a site whose head was refitted: images unlike the site's own."""

import numpy as np

from offsite.workflows.package.fitting import under
from offsite.workflows.package.folder import Package
from offsite.workflows.package.trunk_distance import kept_scores
from offsite.workflows.predict.answers.likeness import Likeness
from offsite.workflows.site.cases import LocalCases


def own_scores(package: Package, cases: LocalCases, site: str) -> dict[str, np.ndarray]:
    """Return the arrays under which the site's percentiles are those among its own labelled cases.

    A site with another camera lies far from the training images, so that every case would go to a
    person however well the refitted head grades it. The distances stay those from the training
    images, which no local case took part in: the labelled cases and later ones of the same kind are
    exchangeable, and of n of them a later one lies above all with probability 1 / (n + 1). What is
    no such photograph lies farther still. Our construction.
    """
    assert cases.embeddings is not None
    seen = cases.embeddings if cases.seen is None else cases.seen
    likeness = Likeness(package)
    arrays: dict[str, np.ndarray] = {}
    for prefix, referenced in likeness.scores(cases.embeddings, seen, cases.logits).items():
        arrays |= under(f"{prefix}/{site}", kept_scores(referenced))
    return arrays
