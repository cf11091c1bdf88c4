"""Trains, is killed by signal 9 at given moments, trains on; prints what came of it as JSON.

One process imports everything and forks a child for each training, which costs a fifth of a new
interpreter. Run as ``python kill_driver.py FOLDER`` with the room and the root on PYTHONPATH.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import lightning_fabric  # noqa: F401  (once, before the forks)
import torch
from problem import Net, points, settings, source, validator

from offsite.training.fit import checkpoint
from offsite.training.fit import loop as fitting
from offsite.training.fit import result as fit_result


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def train(folder, averaging, at=None):
    """Train; ``at`` names the moment of death."""
    kind, *where = at or ("never",)
    cadence = {"checkpoint_every_steps": 4, "checkpoint_every_seconds": 1e9}
    data = points()
    after = (
        (lambda epoch, step: die() if (epoch, step) == tuple(where) else None)
        if (kind == "step")
        else None
    )
    if kind == "save":  # between the tensors and the pointer of the n-th checkpoint
        _die_at_call(checkpoint, "write_json", where[0])
    if kind == "line":  # after the epoch's line, before its checkpoint
        _die_at_call(fitting._Fitting, "_save_is_due", where[0], only=lambda self: self.step == 0)
    if kind == "end":  # after the weights, before the record of the result
        _die_at_call(fit_result, "write_json", 1)
    if kind == "any":  # slow enough to be hit in every part of a step
        cadence = {"checkpoint_every_seconds": 0.0}
        threading.Timer(where[0], die).start()
    cadence |= {"swad_converged": 2, "swad_patience": 2, "learning_rate": 0.1}
    fitting.fit(
        Net(),
        source(data, after=after),
        settings(averaging=averaging, epochs=5, **cadence),
        folder,
        validator(data),
    )


def _die_at_call(place, name, count, only=lambda *_: True):
    real, calls = getattr(place, name), []

    def counted(*args, **kwargs):
        if only(*args):
            calls.append(1)
        if len(calls) == count:
            die()
        return real(*args, **kwargs)

    setattr(place, name, counted)


def forked(*arguments):
    child = os.fork()
    if child == 0:
        try:
            train(*arguments)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return {
        "weights": checkpoint.file_digest(folder / "weights.safetensors"),
        "curves": lines,
        "reason": json.loads((folder / "fit.json").read_text())["result"]["reason"],
        "files": sorted(path.name for path in folder.iterdir()),
    }


def killed_until_done(folder, averaging):
    """Kill at ever later times, which the machine's load makes random; return the number."""
    for kills in range(40):
        if forked(folder, averaging, ("any", 0.02 * 1.3**kills)) == 0:
            return kills
    raise RuntimeError("never done")


MOMENTS = [
    ("step", 0, 1), ("step", 1, 3), ("step", 2, 0), ("step", 4, 5), ("save", 1), ("save", 4),
    ("line", 2), ("line", 5), ("end",),
]  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    report = {}
    for averaging in ("none", "ema", "swad"):
        codes = [forked(base / averaging / "whole", averaging)]
        runs = {"whole": outcome(base / averaging / "whole")}
        for number, moment in enumerate(MOMENTS if averaging == "none" else MOMENTS[1:5:3]):
            folder = base / averaging / str(number)
            codes += [forked(folder, averaging, moment), forked(folder, averaging)]
            runs[" ".join(map(str, moment))] = outcome(folder)
        report[averaging] = {"codes": codes, "runs": runs}
    report["none"]["kills"] = killed_until_done(base / "any", "none")
    report["none"]["runs"]["any"] = outcome(base / "any")
    print(json.dumps(report))
