"""What is said of a job that lacks weights or a package."""

from pathlib import Path

from offsite.errors import InputError


def no_weights(file: Path, path: Path, setting: str) -> InputError:
    """Return the error of weights that a setting names and that are not there."""
    return InputError(
        f"{setting} names {path}, which is not there",
        file=file,
        remedy="Mend the path; it starts from the folder that the command runs in",
        code="encoder_weights",
    )


def missing_package(file: Path, package: str, what: str, remedy: str = "") -> InputError:
    """Return the error of an optional package that ``what`` needs."""
    return InputError(
        f"{what} needs the package {package}, which is not installed",
        file=file,
        remedy=remedy or f"Install it with: pip install {package}",
        code="missing_package",
    )
