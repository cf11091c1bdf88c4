"""Real DICOM files: photographs of the retina and tiled whole slides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.5.1"  # Ophthalmic Photography 8 Bit Image Storage
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom(
    path: Path,
    size: tuple[int, int],
    content: bytes | Sequence[bytes],
    syntax: UID = ExplicitVRLittleEndian,
    **values: Any,
) -> Path:
    """Write pixels of ``size`` (height, width): bytes as they are, or compressed frames."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = PHOTOGRAPH, generate_uid()
    data.PatientName, data.PatientID = "Doe^Jane", "1234"
    data.Rows, data.Columns = size
    data.SamplesPerPixel, data.PlanarConfiguration, data.PhotometricInterpretation = 3, 0, "RGB"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    for name, value in values.items():
        setattr(data, name, value)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PixelData = content if isinstance(content, bytes) else encapsulate(list(content))
    data["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_dicom_slide(folder: Path, levels: Sequence[np.ndarray], mpp: float, jpeg: bool) -> Path:
    """Write one series, a file for each level, and return the first."""
    series, tile = generate_uid(), 240
    paths = []
    for number, pixels in enumerate(levels):
        height, width = pixels.shape[:2]
        frames = [
            simplejpeg.encode_jpeg(frame, quality=90, colorsubsampling="422")
            if jpeg
            else frame.tobytes()
            for frame in _frames(pixels, tile)
        ]
        spacing = mpp / 1000 * levels[0].shape[1] / width
        measures, shared, path = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [round(spacing, 9)] * 2, 0
        shared.PixelMeasuresSequence = [measures]
        path.OpticalPathIdentifier = "1"
        paths.append(
            write_dicom(
                folder / f"level-{number}.dcm", (tile, tile), frames if jpeg else b"".join(frames),
                JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian,
                SOPClassUID=SLIDE, SeriesInstanceUID=series,
                ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED" if number else "NONE"],
                DimensionOrganizationType="TILED_FULL", NumberOfFrames=len(frames),
                TotalPixelMatrixColumns=width, TotalPixelMatrixRows=height,
                TotalPixelMatrixFocalPlanes=1, NumberOfOpticalPaths=1,
                PhotometricInterpretation="YBR_FULL_422" if jpeg else "RGB",
                OpticalPathSequence=[path], SharedFunctionalGroupsSequence=[shared],
            )
        )  # fmt: skip
    return paths[0]


def _frames(pixels: np.ndarray, tile: int) -> list[np.ndarray]:
    height, width = pixels.shape[:2]
    margin = ((0, -height % tile), (0, -width % tile), (0, 0))
    whole = np.pad(pixels, margin, constant_values=255)
    return [
        np.ascontiguousarray(whole[y : y + tile, x : x + tile])
        for y in range(0, height, tile)
        for x in range(0, width, tile)
    ]
