"""The kinds of images that jobs are of: those of offsite, and those of other installed packages."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from offsite.errors import InputError
from offsite.registry import Registry
from offsite.training.encoders import EncoderBench
from offsite.training.modality import CONTRACT, JobPart, Modality
from offsite.training.steps import Step
from offsite.workflows.jobs.own_modalities import GROUP, ROOMS

OWN: Registry[Modality] = Registry(
    "modality",
    {name: f"{room}.modality:MODALITY" for name, room in ROOMS.items()},
)


def modality_names() -> tuple[str, ...]:
    """Return the names that a job's ``task`` may have; nothing is imported.

    Raises
    ------
    InputError
        Code ``modality_twice``: two packages bring one name.
    """
    return (*OWN, *_brought())


def modalities() -> Iterator[Modality]:
    """Yield every modality; one of another package that is absent or of another version is left out."""
    yield from OWN.values()
    for entry in _brought().values():
        with suppress(InputError):  # whoever names it is told why
            yield _loaded(entry)


def brought_steps() -> dict[str, Step]:
    """Return the stages of other packages' modalities by name."""
    return {
        stage.name: stage
        for modality in modalities()
        if modality.name not in OWN
        for stage in modality.stages
    }


def encoder_benches() -> Iterator[EncoderBench]:
    """Yield the encoders of every modality that has some."""
    for modality in modalities():
        if modality.encoders is not None:
            yield modality.encoders()


def encoder_of(modality: Modality, configuration: JobPart, file: Path) -> tuple[EncoderBench, Any]:
    """Return the encoders of a job's modality, and the settings of the one that its images pass.

    Raises
    ------
    InputError
        Code ``no_encoder``: it has none, or the job reads what an encoder that is not here has made.
    """
    having = ", ".join(other.name for other in modalities() if other.encoders is not None)
    named = "or an encoder of `offsite encoder list`, where the command takes its name"
    if modality.encoders is None:
        raise InputError(
            f"a job of {modality.reads} has no encoder",
            file=file,
            remedy=f"Name a job of task {having}, {named}",
            code="no_encoder",
        )
    if not configuration.reads_images():
        raise InputError(
            f"the job reads features that another tool made: of {modality.reads} and their pixels it"
            " has none, nor the encoder",
            file=file,
            remedy=f"Name a job whose {modality.reads} offsite encodes itself, {named}",
            code="no_encoder",
        )
    bench = modality.encoders()
    return bench, getattr(configuration, bench.setting)


def modality_named(name: str) -> Modality:
    """Return the modality of a job's ``task``.

    Raises
    ------
    InputError
        Code ``unknown_modality``, ``modality_twice``, ``modality_absent`` (its package is there and
        cannot be imported) or ``modality_version`` (it is made for another version of offsite).
    """
    if name in OWN:
        _brought()
        return OWN[name]
    brought = _brought()
    if name not in brought:
        raise InputError(
            f"no modality is named '{name}'",
            remedy=f"Known are {', '.join((*OWN, *brought))}; another comes with its package",
            code="unknown_modality",
        )
    return _loaded(brought[name])


def modality_reading(reads: str) -> Modality:
    """Return the modality whose models read ``reads``, as a package's ``task`` says.

    Raises
    ------
    InputError
        As `modality_named`.
    """
    for name in modality_names():
        modality = modality_named(name)
        if modality.reads == reads:
            return modality
    raise InputError(
        f"no modality here reads {reads}",
        remedy="Install the package that the model's modality comes with",
        code="unknown_modality",
    )


def _brought() -> dict[str, EntryPoint]:
    brought: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = brought.get(entry.name)
        if entry.name in OWN or (other is not None and other.value != entry.value):
            packages = [_package(other) if other is not None else "offsite", _package(entry)]
            raise InputError(
                f"modality '{entry.name}' is brought by {' and by '.join(packages)}",
                remedy="Uninstall one of the two",
                code="modality_twice",
            )
        brought[entry.name] = entry
    return brought


def _loaded(entry: EntryPoint) -> Modality:
    try:
        modality = entry.load()
    except Exception as error:  # whatever importing another package's code may raise
        raise InputError(
            f"modality '{entry.name}' of {_package(entry)} cannot be loaded"
            f" ({type(error).__name__}: {error})",
            remedy="Install its package again, in a version for this offsite",
            code="modality_absent",
        ) from error
    contract = getattr(modality, "contract", None)
    if not isinstance(modality, Modality) or contract != CONTRACT or modality.name != entry.name:
        raise InputError(
            f"modality '{entry.name}' of {_package(entry)} is made for another version of offsite",
            remedy=f"Install a version of it for contract {CONTRACT}",
            code="modality_version",
        )
    return modality


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
