"""The kinds of images that jobs are of: those of offsite, and those of other installed packages."""

from importlib.metadata import EntryPoint, entry_points

from offsite.errors import InputError
from offsite.registry import Registry
from offsite.training.modality import CONTRACT, Modality

GROUP = "offsite.modalities"
"""Entry points by which another package brings a modality; the name is a job's ``task``."""

OWN: Registry[Modality] = Registry(
    "modality",
    {
        "pathology": "offsite.pathology.modality:MODALITY",
        "retina": "offsite.retina.modality:MODALITY",
    },
)


def modality_names() -> tuple[str, ...]:
    """Return the names that a job's ``task`` may have; nothing is imported.

    Raises
    ------
    InputError
        Code ``modality_twice``: two packages bring one name.
    """
    return (*OWN, *_brought())


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
