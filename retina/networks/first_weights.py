"""Load local first weights (ImageNet, a self-supervised run) into a backbone, without pickle."""

import re
from collections.abc import Container
from pathlib import Path

import torch
from torch import Tensor, nn

from offsite.errors import InputError

# What stands before the names in files of other tools, and what classifies and is not wanted.
_PREFIXES = ("module.", "backbone.", "net.", "model.", "encoder.")
_HEADS = ("fc.", "classifier.", "head.", "class_layers.", "_fc.")


def load_first_weights(net: nn.Module, path: str | Path) -> None:
    """Fill a network from a file of weights named as in torchvision.

    Parameters
    ----------
    net : nn.Module
        A backbone's layers; all of them must be in the file with the same shapes.
    path : path
        ``.safetensors``, or ``.pth``/``.pt`` with a state dictionary (read with ``weights_only``:
        a file that would run code is refused).

    Raises
    ------
    InputError
        Code ``unreadable_weights`` or ``weights_do_not_fit``.
    """
    file = Path(path)
    expected = net.state_dict()
    bare = {_without_prefix(name): tensor for name, tensor in _read(file).items()}
    given = {
        _name_in(expected, name): tensor
        for name, tensor in bare.items()
        if not name.startswith(_HEADS)
    }
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(given) - counters)
    other = sorted(n for n in set(expected) & set(given) if expected[n].shape != given[n].shape)
    if missing or other:
        fault = f"{len(missing)} layers are missing" if missing else "shapes differ"
        raise InputError(
            f"{fault} ({', '.join((missing or other)[:3])}, ...)",
            file=file,
            code="weights_do_not_fit",
            remedy="Give the weights of the same architecture, named as torchvision names them",
        )
    net.load_state_dict({name: given.get(name, tensor) for name, tensor in expected.items()})


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(
            "no such file of weights", file=file, remedy="Check the path", code="unreadable_weights"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
        content = content.get("state_dict", content)
        return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    except Exception as error:  # each reader has several kinds of error for these
        raise InputError(
            f"cannot be read as weights ({type(error).__name__})",
            file=file,
            code="unreadable_weights",
            remedy="Give a .safetensors file, or a .pth file of a plain state dictionary",
        ) from error


def _without_prefix(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, stripped = name.removeprefix(prefix), True
    return name


def _name_in(expected: Container[str], name: str) -> str:
    """Return the name by which the network has a layer of the file.

    MONAI keeps a dense layer's parts in a submodule 'layers', torchvision does not; timm dissolves
    a network's outermost sequences: stages_0.x of stages.0.x.
    """
    monai = re.sub(r"(denselayer\d+)\.(norm|conv)", r"\1.layers.\2", name)
    timm = re.sub(r"^(\w+?)\.(\w+)\.", r"\1_\2.", name)
    return next((known for known in (name, monai, timm) if known in expected), name)
