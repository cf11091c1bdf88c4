"""Where the feature files of a job's slides lie, and where what offsite makes of them goes."""

from dataclasses import dataclass
from pathlib import Path

from offsite.pathology.features.settings import ExternalEncoder


@dataclass(frozen=True)
class FeatureSource:
    """Features that offsite made itself, or those of another tool, which are only read.

    Attributes
    ----------
    folder : Path
        The feature files.
    own : Path
        Where the table of features and the packed copy lie; all that is written lies there.
    encoder : ExternalEncoder, optional
        What made them, where that was another tool.
    """

    folder: Path
    own: Path
    encoder: ExternalEncoder | None = None

    @classmethod
    def of(cls, folder: "str | Path | FeatureSource") -> "FeatureSource":
        """Return the source of a folder that offsite's own features lie in; a source stays itself."""
        if isinstance(folder, FeatureSource):
            return folder
        return cls(Path(folder), Path(folder))
