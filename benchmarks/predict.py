"""Images per second of `offsite predict` beside a plain loop with the same model and settings.

The plain loop does what a script does: open, transform, model, one image at a time, a CSV at the
end. `offsite predict` also hashes every input, judges it, writes its record, pictures, heatmaps,
page and worklist, and can be killed at any moment. Run it on an idle machine:

    python -m benchmarks.predict --photographs FOLDER --slides FOLDER --repeats 3

Without ``--photographs`` it makes synthetic ones of 2,048 px, as cameras do; ``--slide-side 12288``
makes three slides of that side; ``--only`` leaves the rest out. How much can be gained depends on the
network: of a heavy one the plain loop, too, uses all cores. On a machine with other work, compare on one
core (``taskset -c 0``): torch's threads wait for one another there, which flatters offsite.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import openslide
import torch

from benchmarks.tiling import make_picture
from offsite.pathology.inference import describe, load_slide_model, predict_bag
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import ScMilSettings
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.preprocessing.tiles.table import TileSettings
from offsite.retina.inference import FundusNetwork, load_fundus_model
from offsite.retina.linear.fitting import trunk_network
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.photographs.batches import normalised
from offsite.retina.settings import BackboneSettings
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.schema import (
    POOLED,
    Architecture,
    DecisionRules,
    ModelRecord,
    SiteProfile,
)
from offsite.workflows.package.verification import WEIGHTS
from offsite.workflows.predict.batch import BatchOptions, run_batch
from offsite.workflows.predict.inputs.listing import find_inputs
from offsite.workflows.predict.running import predictor_for

HEAD = "linear"
Loop = Callable[[Sequence[Path], Package, Path], None]


def photograph_package(folder: Path, settings: BackboneSettings | None, px: int) -> Package:
    """Write the package of an untrained network for photographs; None: the head on the trunk."""
    network: FundusNetwork
    if settings is None:
        reading = BackboneSettings().reading()
        network = trunk_network(reading, len(GRADES), None)[0]
        architecture = {"reading": reading.model_dump(mode="json"), "n_classes": len(GRADES)}
    else:
        network = build_classifier(settings, len(GRADES), seed=0, head=HEAD).eval()
        architecture = {
            "backbone": settings.model_dump(mode="json", exclude={"weights"}), "head": HEAD,
            "n_classes": len(GRADES),
        }  # fmt: skip
    record = ModelRecord(
        name="untrained", task="photographs", target="grade", classes=GRADES,
        architecture=Architecture(name="fundus_classifier", settings=architecture),
        preprocessing={"fundus": FundusSettings(px=px).model_dump(mode="json")},
        decision=DecisionRules(positive=GRADES[2:]),
        profiles={POOLED: SiteProfile(role="pooled", n=0)}, training_sites=(), patients=0,
    )  # fmt: skip
    write_package(folder, record, network.state_dict(), {})
    return load_package(folder)


def slide_package(folder: Path, chosen: EncoderSettings) -> Package:
    """Write the package of an untrained model for slides."""
    encoder = load_encoder(chosen)
    model = ScMil(encoder.dimensions, 3, ScMilSettings()).eval()
    architecture = describe(model)
    record = ModelRecord(
        name="untrained", task="slides", target="grade", classes=("none", "low", "high"),
        architecture=Architecture(name=architecture["name"], settings=architecture),
        preprocessing={"tiles": TileSettings().model_dump(mode="json"),
                       "encoder": chosen.model_dump(mode="json")},
        decision=DecisionRules(positive=("low", "high")),
        profiles={POOLED: SiteProfile(role="pooled", n=0)}, training_sites=(), patients=0,
    )  # fmt: skip
    write_package(folder, record, model.inference_state(), {})
    return load_package(folder)


def plain_photographs(paths: Sequence[Path], package: Package, out: Path) -> None:
    """Open, crop to what is not dark, shrink, model, one at a time: OpenCV and torch alone."""
    network = load_fundus_model(package.path / WEIGHTS, package.record.architecture.settings)
    px = FundusSettings.model_validate(package.record.preprocessing["fundus"]).px
    lines = []
    with torch.inference_mode():
        for path in paths:
            picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            lit = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) > 10
            rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
            cropped = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            square = cv2.resize(cropped, (px, px), interpolation=cv2.INTER_AREA)
            logits = network(normalised(square[None])).logits
            lines.append(f"{path.name},{','.join(map(str, torch.softmax(logits, 1)[0].tolist()))}")
    out.write_text("\n".join(lines))


def same_preparation(paths: Sequence[Path], package: Package, out: Path) -> None:
    """The same loop with the preparation that the model was trained with, quality and all."""
    _prepared_loop(
        paths, package, out, lambda path, _: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    )


def same_reader(paths: Sequence[Path], package: Package, out: Path) -> None:
    """That loop with our reader too, which opens large photographs at half their size."""
    _prepared_loop(paths, package, out, lambda path, px: read_photograph(path, px).pixels)


def _prepared_loop(
    paths: Sequence[Path], package: Package, out: Path, read: Callable[[Path, int], np.ndarray]
) -> None:
    network = load_fundus_model(package.path / WEIGHTS, package.record.architecture.settings)
    settings = FundusSettings.model_validate(package.record.preprocessing["fundus"])
    lines = []
    with torch.inference_mode():
        for path in paths:
            prepared = prepare_photograph(read(path, settings.px), settings)
            logits = network(normalised(prepared.pixels[None])).logits
            lines.append(f"{path.name},{','.join(map(str, torch.softmax(logits, 1)[0].tolist()))}")
    out.write_text("\n".join(lines))


def plain_slides(paths: Sequence[Path], package: Package, out: Path) -> None:
    """Thumbnail, tissue by Otsu, tiles by OpenSlide, encode, model, one at a time."""
    model = load_slide_model(package.path / WEIGHTS, package.record.architecture.settings)
    settings = package.record.preprocessing
    encoder = load_encoder(EncoderSettings.model_validate(settings["encoder"]))
    tiling = TileSettings.model_validate(settings["tiles"])
    lines = []
    for path in paths:
        with openslide.OpenSlide(path) as slide:
            mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
            size = round(tiling.tile_px * tiling.mpp / mpp)
            tiles = [
                np.asarray(
                    slide.read_region(place, 0, (size, size))
                    .convert("RGB")
                    .resize((tiling.tile_px, tiling.tile_px))
                )
                for place in tissue_places(slide, size)
            ]
        rows = np.concatenate([encoder.encode(tile[None]) for tile in tiles])
        found = predict_bag(model, rows.astype(np.float16))
        lines.append(f"{path.name},{','.join(map(str, found.probabilities.tolist()))}")
    out.write_text("\n".join(lines))


def tissue_places(slide: openslide.OpenSlide, size: int) -> list[tuple[int, int]]:
    """Corners of the tiles of which at least a half is darker than Otsu's threshold."""
    grey = np.asarray(slide.get_thumbnail((1024, 1024)).convert("L"))
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    mask, step = grey < threshold, slide.dimensions[0] / grey.shape[1]
    side = max(round(size / step), 1)
    return [
        (x, y)
        for y in range(0, slide.dimensions[1] - size + 1, size)
        for x in range(0, slide.dimensions[0] - size + 1, size)
        if mask[int(y / step) :, int(x / step) :][:side, :side].mean() >= 0.5
    ]


def offsite(paths: Sequence[Path], package: Package, out: Path) -> dict[str, float]:
    """Predict as the command does; return the facts of the run."""
    predictor = predictor_for(package, "cpu")
    inputs = find_inputs(paths, site="x")
    with contextlib.redirect_stderr(io.StringIO()):
        outcome = run_batch(package, predictor, inputs, BatchOptions(output=out, workers=2))
    return outcome.facts


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    start, before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - before


def photographs_in(folder: Path | None, made: Path, count: int) -> list[Path]:
    """Return photographs of a folder, or synthetic ones."""
    if folder is None:
        make_fundus_cohort(made, SyntheticFundusSettings(patients_per_site=-(-count // 7), px=2048))
        folder = made
    return sorted(folder.rglob("*.jpg"))[:count]


def compare(
    what: str, paths: list[Path], package: Package, loop: Loop, folder: Path, repeats: int
) -> dict[str, object]:
    """Time a plain loop and offsite in turn on the same images; return the medians."""
    loop(paths[:2], package, folder / "warm.csv")
    offsite(paths[:2], package, folder / f"warm-{what}")
    loops, ours, idle = [], [], []
    for repeat in range(repeats):
        loops.append(seconds(lambda: loop(paths, package, folder / "loop.csv")))
        facts: dict[str, float] = {}
        out = folder / f"{what}{repeat}"
        ours.append(seconds(lambda: facts.update(offsite(paths, package, out))))  # noqa: B023
        idle.append(facts["device_idle_share"])
    plain, our = np.median(loops, axis=0), np.median(ours, axis=0)
    return {
        "of": what, "images": len(paths),
        "plain_loop_per_second": round(len(paths) / plain[0], 2),
        "offsite_per_second": round(len(paths) / our[0], 2),
        "ratio": round(plain[0] / our[0], 2),
        "processor_seconds": {"plain_loop": round(plain[1], 1), "offsite": round(our[1], 1)},
        "device_idle_share": round(float(np.median(idle)), 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> None:
    """Compare photographs and, where a folder is given, slides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--slides", type=Path)
    parser.add_argument("--slide-side", type=int, help="px at 0.25 um of slides to make")
    parser.add_argument("--only", choices=["photographs", "slides"])
    parser.add_argument("--count", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", default="thin_resnet18",
                        help="a network's name, or linear: the head on the trunk")  # fmt: skip
    parser.add_argument("--encoder", default="structure_baseline", help="of the slides' tiles")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--px", type=int, default=128)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"threads {torch.get_num_threads()}, load {os.getloadavg()[0]:.1f}")
        if chosen.only != "slides":
            compare_photographs(chosen, folder)
        if chosen.only != "photographs":
            compare_slides(chosen, folder)


def compare_photographs(chosen: argparse.Namespace, folder: Path) -> None:
    """Print the figures of photographs, beside three loops."""
    backbone = None
    if chosen.backbone != "linear":
        backbone = BackboneSettings(name=chosen.backbone, width=chosen.width)
    package = photograph_package(folder / "package", backbone, chosen.px)
    paths = photographs_in(chosen.photographs, folder / "made", chosen.count)
    for what, loop in (
        ("photographs", plain_photographs), ("same-preparation", same_preparation),
        ("same-reader", same_reader),
    ):  # fmt: skip
        found = compare(what, paths, package, loop, folder, chosen.repeats)
        print(json.dumps(found, indent=2))


def compare_slides(chosen: argparse.Namespace, folder: Path) -> None:
    """Print the figures of slides, of a folder or made here."""
    sources = []
    if chosen.slides:
        sources.append(sorted(p for p in chosen.slides.iterdir() if p.suffix in (".svs", ".tiff")))
    if chosen.slide_side:
        sources.append(made_slides(folder / "made-slides", chosen.slide_side))
    for number, paths in enumerate(sources):
        package = slide_package(
            folder / f"slide-package-{number}", EncoderSettings(name=chosen.encoder)
        )
        found = compare(
            f"slides-{number}", paths[: chosen.count], package, plain_slides, folder, chosen.repeats
        )
        print(json.dumps(found, indent=2))


def made_slides(folder: Path, side: int) -> list[Path]:
    """Write three slides of one tissue, laid out differently."""
    folder.mkdir()
    picture = make_picture(side)
    paths = [folder / f"{number}.svs" for number in range(3)]
    for number, path in enumerate(paths):
        shifted = np.roll(picture, 1111 * number, axis=1)
        write_slide(path, shifted, mpp=0.25, quality=80)
    return paths


if __name__ == "__main__":
    main()
