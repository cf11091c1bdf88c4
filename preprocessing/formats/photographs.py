"""The formats of photographs: the one list that checks, readers, prediction and pages ask."""

from offsite.file_formats import FileFormat

PHOTOGRAPHS: dict[str, FileFormat] = {
    "jpeg": FileFormat("JPEG", (".jpg", ".jpeg")),
    "png": FileFormat("PNG", (".png",)),
    "tiff": FileFormat("TIFF", (".tif", ".tiff")),
    "bmp": FileFormat("BMP", (".bmp",)),
    "webp": FileFormat("WebP", (".webp",)),
    "gif": FileFormat("GIF", (".gif",)),
    "jpeg2000": FileFormat("JPEG 2000", (".jp2", ".j2k")),
    "avif": FileFormat("AVIF", (".avif",)),
    "dicom": FileFormat("DICOM", (".dcm",), package="pydicom"),
}
"""By what `offsite.preprocessing.formats.kinds.kind_of` calls them; one picture in each file."""

PHOTOGRAPH_SUFFIXES = tuple(end for kind in PHOTOGRAPHS.values() for end in kind.suffixes)
READ = ", ".join(kind.name for kind in PHOTOGRAPHS.values())
"""The formats in words."""
