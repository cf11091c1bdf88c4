"""Names that the registry can keep: what breaks an address or a search is refused in a sentence."""

import re

from offsite.errors import InputError

MODEL_NAME = r"^[^/:\"'\x00-\x1f]+$"
"""A registered model: no part of an address (``models:/name/1``), nothing that ends a quotation."""
LONGEST_NAME = 100


def check_model_name(name: str) -> None:
    """Refuse a name under which a model could be neither kept nor asked for.

    Raises
    ------
    InputError
        Code ``model_name``.

    Examples
    --------
    >>> check_model_name("tumour grade 2")
    """
    kept = re.fullmatch(MODEL_NAME, name) and name.strip() not in ("", ".", "..")
    if not kept or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name!r} cannot be the name of a registered model",
            remedy=f"Use at most {LONGEST_NAME} characters, none of them / : or a quotation mark",
            code="model_name",
        )
