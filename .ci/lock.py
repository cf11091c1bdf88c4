"""Pin every package of the environment, with hashes: four files beside pyproject.toml.

requirements-torch.lock   torch alone: its builds for processors and for CUDA have other hashes
requirements.lock         what the program and all its extras need, torch's own needs too
requirements-dev.lock     what tests and style need besides; it stays out of the image
requirements-foundation.lock   what foundation models need besides; `make foundation` installs it

Run as ``make lock`` (newest versions) or ``python .ci/lock.py --keep`` (versions as they are pinned).
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH, RUNTIME, DEVELOPMENT, FOUNDATION = (
    ROOT / f"requirements{part}.lock" for part in ("-torch", "", "-dev", "-foundation")
)
FILES = (TORCH, RUNTIME, DEVELOPMENT, FOUNDATION)
EXTRAS = ("mlflow", "server", "workflow", "slurm", "dicom")
# They come with the CUDA build of torch, which pins each of them itself.
WITH_TORCH = re.compile(r"(nvidia|cuda)-|triton==|torch==|setuptools==")
# Only an oracle in tests; it asks for a setuptools that holds torch back.
APART = "confidenceinterval"


def compiled(extras: tuple[str, ...], constraints: str, more: str = "") -> dict[str, str]:
    """Return the lines of each package by its name and version."""
    with tempfile.TemporaryDirectory() as folder:
        held, asked = Path(folder) / "held.txt", Path(folder) / "asked.in"
        held.write_text(constraints)
        asked.write_text(more)
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes"]
        command += ["--no-annotate", "--no-header", "--python-version", "3.11", "-c", str(held)]
        command += [word for extra in extras for word in ("--extra", extra)]
        source = [str(asked), "--no-deps"] if more else [str(ROOT / "pyproject.toml")]
        done = subprocess.run([*command, *source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    blocks = re.split(r"\n(?=\S)", done.stdout.strip())
    return {re.split(r"[\s;]", block)[0]: block for block in blocks}


def main() -> None:
    """Write the three files."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keep", action="store_true", help="keep the versions that are pinned")
    held = ""
    if options.parse_args().keep:
        texts = [file.read_text() for file in FILES if file.is_file()]
        held = "\n".join(re.findall(r"^[\w.\[\]-]+==[^\s;\\]+", "\n".join(texts), re.MULTILINE))
    system = Path("/etc/xdg/pip/constraints.txt")
    held += "\n" + (system.read_text() if system.is_file() else "")
    runtime = compiled(EXTRAS, held)
    everything = compiled((*EXTRAS, "dev"), "\n".join([held, *runtime]))
    foundation = compiled((*EXTRAS, "foundation"), "\n".join([held, *runtime]))
    apart = compiled((), held, more=APART)
    torch = next(name for name in runtime if name.startswith("torch=="))
    development = {**everything, **apart}
    TORCH.write_text(f"{torch}\n")
    _write(RUNTIME, runtime)
    _write(DEVELOPMENT, {name: text for name, text in development.items() if name not in runtime})
    _write(FOUNDATION, {name: text for name, text in foundation.items() if name not in runtime})


def _write(file: Path, blocks: dict[str, str]) -> None:
    kept = [text for name, text in sorted(blocks.items()) if not WITH_TORCH.match(name)]
    file.write_text("# Made by `make lock`.\n" + "\n".join(kept) + "\n")


if __name__ == "__main__":
    main()
