"""What the pretrained trunk costs on one core, and what makes it cheaper: ratios of processor time.

    python benchmarks/trunk_speed.py [--px 96 128 160 224] [--repeats 5] [--table FILE]

Each way of running the network reads the same pictures: the plain way (batch norms apart, memory as it
comes, a picture at a time), and what offsite does (norms folded into the convolutions, channels last,
as many at a time as the cache holds), with bfloat16 and int8 beside it. Ways take turns, one thread, the least processor time
of the repeats counts, so that other work on the machine changes little. Beside the time stands how far
the features move: the largest difference over the deviation of the same number among pictures.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from evidence import markdown, write_page
from torch import Tensor

from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.training.trunk.network import Lite0, folded_state, trunk_input
from offsite.training.trunk.reading import TrunkReader, as_pixels, pictures_at_once, statistics_of
from offsite.training.trunk.settings import TrunkReadingSettings
from offsite.training.trunk.weights import trunk_state

WHOLE = TrunkReadingSettings()
PICTURES = 16
Way = Callable[[Tensor], Tensor]


def pictures(px: int, folder: Path) -> Tensor:
    """Synthetic photographs of a side, as pixels (N x 3 x px x px)."""
    import cv2

    made = folder / "photographs"
    if not made.is_dir():
        make_fundus_cohort(made, SyntheticFundusSettings(patients_per_site=4, px=256))
    files = sorted((made / "images").iterdir())[:PICTURES]
    read = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    return as_pixels(np.stack([cv2.resize(each, (px, px)) for each in read]))


def plain() -> Way:
    """Return the network as it is published: norms apart, a picture at a time."""
    net = Lite0().eval().requires_grad_(False)
    net.load_state_dict(trunk_state())

    @torch.enable_grad()  # offsite's own choice of kernels is left out, as in training
    def way(pixels: Tensor) -> Tensor:
        each = [net.maps(trunk_input(one[None].contiguous())) for one in pixels]
        return torch.cat([statistics_of(maps, WHOLE) for maps in each])

    return way


def shipped(at_once: int | None = None) -> Way:
    """Return what offsite does."""
    reader = TrunkReader(WHOLE).eval()
    reader.net.load_state_dict(folded_state(trunk_state()))

    def way(pixels: Tensor) -> Tensor:
        step = at_once or pictures_at_once(pixels.shape[-1])
        return torch.cat([reader(part) for part in pixels.split(step)])

    return way


def bfloat16() -> Way:
    """Return what offsite does, in bfloat16 where autocast takes it."""
    inner = shipped()

    def way(pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return inner(pixels)

    return way


def int8(sample: Tensor) -> Way:
    """Return the folded network with weights and maps in int8, scaled on a sample."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    class Maps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Lite0(folded=True)
            self.net.load_state_dict(folded_state(trunk_state()))

        def forward(self, inputs: Tensor) -> list[Tensor]:
            return self.net.maps(inputs)

    maps = Maps().eval()
    _pad_once_and_for_all(maps, trunk_input(sample[:1]))
    torch.backends.quantized.engine = "onednn"
    prepared = prepare_fx(maps, get_default_qconfig_mapping("onednn"), (sample[:1],))
    prepared(trunk_input(sample))
    net = convert_fx(prepared)

    def way(pixels: Tensor) -> Tensor:
        parts = pixels.split(pictures_at_once(pixels.shape[-1]))
        return torch.cat([statistics_of(net(trunk_input(part)), WHOLE) for part in parts])

    return way


def _pad_once_and_for_all(network: torch.nn.Module, inputs: Tensor) -> None:
    """Replace each convolution by one whose padding is that of these inputs: it can be traced."""
    sizes: dict[str, torch.Size] = {}
    convolutions = {name: layer for name, layer in network.named_modules()
               if isinstance(layer, torch.nn.Conv2d)}  # fmt: skip
    hooks = [
        layer.register_forward_pre_hook(lambda _, x, name=name: sizes.update({name: x[0].shape}))
        for name, layer in convolutions.items()
    ]
    with torch.inference_mode():
        network(inputs)
    for hook in hooks:
        hook.remove()
    for name, layer in convolutions.items():
        if name not in sizes:
            continue
        pads: list[int] = []
        for length, kernel, stride in zip(reversed(sizes[name][2:]), reversed(layer.kernel_size),
                                          reversed(layer.stride), strict=True):  # fmt: skip
            lacking = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [lacking // 2, lacking - lacking // 2]
        plain = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size,
                                layer.stride, groups=layer.groups)  # fmt: skip
        plain.load_state_dict(layer.state_dict())
        parent = network.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2],
                torch.nn.Sequential(torch.nn.ZeroPad2d(tuple(pads)), plain))  # fmt: skip


@torch.inference_mode()
def measured(ways: dict[str, Way], pixels: Tensor, repeats: int) -> dict[str, tuple[float, float]]:
    """Processor seconds of a picture by way, and how far its features lie from the plain ones."""
    least = dict.fromkeys(ways, np.inf)
    seen = {name: way(pixels) for name, way in ways.items()}  # the first call makes the buffers
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way(pixels)
            least[name] = min(least[name], (time.process_time() - start) / len(pixels))
    wanted = seen["plain"]
    spread = wanted.std(dim=0).clamp_min(1e-3)
    return {
        name: (least[name], float(((seen[name].float() - wanted).abs() / spread).max()))
        for name in ways
    }


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, nargs="+", default=[96, 128, 160, 224])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="folder for the photographs")
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/trunk_speed.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for px in options.px:
        pixels = pictures(px, options.out)
        ways = {"plain": plain(), "one at a time": shipped(1), "shipped": shipped(),
                "bfloat16": bfloat16()}  # fmt: skip
        try:
            ways["int8"] = int8(pixels)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            print("int8:", error)
        for name, (seconds, moved) in measured(ways, pixels, options.repeats).items():
            rows.append({"px": px, "way": name, "ms": 1000 * seconds, "moved": moved})
    table = pd.DataFrame(rows)
    table["faster"] = [
        table.loc[(table["px"] == px) & (table["way"] == "plain"), "ms"].iloc[0] / ms
        for px, ms in zip(table["px"], table["ms"], strict=True)
    ]
    print(table.round(3).to_string())
    shown = pd.DataFrame(
        {
            f"{px} px": {
                row["way"]: f"{row['faster']:.2f} ({row['ms']:.1f} ms; {row['moved']:.2g})"
                for _, row in rows.iterrows()
            }
            for px, rows in table.groupby("px")
        }
    )
    shown.index.name = "times as fast as plain (ms a picture and core; largest move of a feature)"
    write_page(
        options.table, "What the trunk costs on one core", [PREFACE, markdown(shown), AFTER],
        "python benchmarks/trunk_speed.py --out FOLDER",
    )  # fmt: skip


PREFACE = """Processor time of one thread, the least of the repeats, ways taking turns. *plain*: batch
norms apart, a picture at a time; *shipped*: norms folded into the convolutions, channels last, as many at
a time as the cache holds, and 1 x 1 kernels by oneDNN, which torch leaves to a slower way for few pictures
on one thread. How far features move is in units of their deviation among pictures."""
AFTER = """**Neither bfloat16 nor int8 is used**: they move single features by several of their deviations,
and by an amount that hangs on the processor, so that a case would have another answer on another machine.
Ratios hold for processors of this kind (AVX-512, with bfloat16 and VNNI instructions); times are
of this machine."""


if __name__ == "__main__":
    main()
