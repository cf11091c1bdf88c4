"""A job's photographs as the frozen trunk sees them, for the search for doubtful grades."""

import numpy as np

from offsite.preprocessing.cohort.splits import split_cohort
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.linear.fitting import trunk_network
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.stages import check_inputs, prepared_of
from offsite.training.frozen_images import FrozenImages
from offsite.training.modality import ImageJob
from offsite.training.trunk.settings import TrunkReadingSettings

_READING = TrunkReadingSettings(region="disc")


def frozen_images(job: ImageJob) -> FrozenImages:
    """Return the statistics of all stages of the trunk, of every labelled, gradable photograph.

    What was read for a run is not read again.

    Raises
    ------
    InputError
        The photographs are not prepared, or with other settings.
    """
    check_inputs(job)
    settings = job.configuration.training
    divided = split_cohort(job.cohort, job.configuration.splits)
    photographs = select_photographs(divided, prepared_of(job), settings.resident_gib)
    network, digest = trunk_network(
        _READING, len(job.configuration.classes), settings.backbone.weights
    )
    kept = TrunkFeatures(prepared_of(job), network.reader, digest)
    used = photographs.table["gradable"].to_numpy(bool) & (photographs.labels >= 0)
    rows: list[int] = np.flatnonzero(used).tolist()
    features = kept.rows(photographs, [(row, 0) for row in rows])
    table = photographs.table.iloc[rows][["image", "slide", "patient", "site", "label"]]
    contents = [photographs.store.digests[row] for row in rows]
    labelled = int((job.cohort.label_indices >= 0).sum())
    return FrozenImages(
        table=table.assign(content=contents).reset_index(drop=True),
        features=features,
        pictures=tuple(photographs.store.files[row] for row in rows),
        unread=labelled - len(rows),
    )
