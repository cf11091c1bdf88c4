"""Trains on one and on two gloo processes, and passes a run from one number to the other.

Prints curves and weights as JSON. Run as ``python ranks_driver.py FOLDER``; with ``NAME`` after it
one training runs in this process, as a rank of ``torchrun``.
"""

import json
import os
import socket
import sys
from pathlib import Path

import lightning_fabric  # noqa: F401  (once, before the forks)
import torch
from problem import EXACT, points, settings, source, validator

from offsite.training.fit import loop as fitting
from offsite.training.fit.checkpoint import load_file


class Stopped(Exception):
    pass


def train(name, folder, stop_at=None):
    def after(epoch, step):
        if (epoch, step) == stop_at:
            raise Stopped

    data = points(45)  # an odd number: shards differ in size
    given = settings(epochs=3, checkpoint_every_steps=1, warmup=0.0, gradient_clip=1.0)
    fitting.fit(EXACT[name](), source(data, 9, after=after), given, folder, validator(data))


def on_ranks(world, *arguments, stop_at=None):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            run_child(rank, world, port, arguments, stop_at)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def run_child(rank, world, port, arguments, stop_at):
    if world > 1:  # what torchrun sets
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "test",
        }
    try:
        train(*arguments, stop_at=stop_at)
        code = 0
    except Stopped:
        code = 3
    except BaseException as error:
        print(f"rank {rank}: {error!r}", file=sys.stderr, flush=True)
        code = 1
    os._exit(code)


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    weights = load_file(folder / "weights.safetensors")
    return {
        "losses": [line["losses"] for line in lines],
        "scores": [line["scores"]["loss"] for line in lines],
        "weights": torch.cat([weights[n].flatten().double() for n in sorted(weights)]).tolist(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    base, report = Path(sys.argv[1]), {}
    if len(sys.argv) > 2:
        train(sys.argv[2], base)
        sys.exit()
    for name in EXACT:
        runs = {"one": base / name / "one", "two": base / name / "two"}
        codes = on_ranks(1, name, runs["one"]) + on_ranks(2, name, runs["two"])
        if name in ("cross-entropy", "contrast"):
            for first, then in ((1, 2), (2, 1)):
                folder = runs[f"{first} then {then}"] = base / name / f"{first}{then}"
                codes += on_ranks(first, name, folder, stop_at=(1, 2))
                codes += on_ranks(then, name, folder)
        report[name] = {"codes": codes} | {run: outcome(f) for run, f in runs.items()}
    print(json.dumps(report))
