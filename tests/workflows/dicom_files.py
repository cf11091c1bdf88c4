"""DICOM files as cameras and scanners export them: photographs, and a whole slide of one level."""

from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    OphthalmicPhotography8BitImageStorage,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

_TILE = 256


def write_photograph(path: Path, pixels: np.ndarray, kind: str = "rgb") -> None:
    """Write uint8 H x W x 3 as ``rgb``, ``ybr`` (both uncompressed), ``jpeg`` or ``frames``."""
    data = _image(OphthalmicPhotography8BitImageStorage, *pixels.shape[:2])
    if kind == "jpeg":
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PhotometricInterpretation = "YBR_FULL_422"
        data.PixelData = encapsulate([simplejpeg.encode_jpeg(pixels, 90, colorsubsampling="422")])
        data["PixelData"].VR = "OB"
    elif kind == "ybr":
        data.PhotometricInterpretation = "YBR_FULL"
        data.PixelData = convert_color_space(pixels, "RGB", "YBR_FULL").tobytes()
    else:
        frames = 2 if kind == "frames" else 1
        data.NumberOfFrames = frames
        data.PixelData = pixels.tobytes() * frames
    data.save_as(path, enforce_file_format=True)


def write_slide(path: Path, pixels: np.ndarray, mpp: float) -> None:
    """Write level 0 of a slide as uncompressed tiles, row by row over the whole matrix."""
    height, width = pixels.shape[:2]
    down, across = -(-height // _TILE), -(-width // _TILE)
    padded = np.full((down * _TILE, across * _TILE, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    tiles = padded.reshape(down, _TILE, across, _TILE, 3).swapaxes(1, 2)
    data = _image(VLWholeSlideMicroscopyImageStorage, _TILE, _TILE)
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.NumberOfFrames = down * across
    data.DimensionOrganizationType = "TILED_FULL"
    data.TotalPixelMatrixFocalPlanes, data.NumberOfOpticalPaths = 1, 1
    data.ImagedVolumeWidth, data.ImagedVolumeHeight = width * mpp / 1000, height * mpp / 1000
    data.FrameOfReferenceUID = generate_uid()
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    measures.SliceThickness = 0.001
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PixelData = tiles.tobytes()
    data.save_as(path, enforce_file_format=True)


def _image(kind: Any, rows: int, columns: int) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality = "SM" if kind == VLWholeSlideMicroscopyImageStorage else "OP"
    data.PatientName, data.PatientID = "Doe^Jane", "1234"
    data.Rows, data.Columns = rows, columns
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.PhotometricInterpretation = "RGB"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    return data
