"""Trains on one and on two gloo processes; ``python ranks_driver.py COHORT PREPARED FOLDER
[CASE ...]``.

One process imports everything and forks the others. Beside each run lie the tensors that training
alone reads, of every rank. All is computed in double precision: in single, rounding decides on
which side of a ReLU's kink a value falls, and after some steps two curves part that are the same.
"""

import os
import socket
import sys
import traceback
from pathlib import Path

import lightning_fabric  # noqa: F401  (once, before the forks)
import torch

from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina import by_steps, training
from offsite.training.devices import distributed
from offsite.training.fit.checkpoint import save_tensors

METHODS = ("deco", "gdrnet", "mixstyle", "mixup", "coral")
THIN = {"backbone": {"width": 4}, "deco": {"warmup": 0.4}}
# The last map of 32 px is one pixel, which alignment cannot compare.
KEPT_MAPS = {
    "backbone": {"name": "efficientnet-lite0", "frozen_stages": 3, "frozen_copies": 2,
                 "rate_by_depth": 0.5},
    "deco": {"warmup": 0.4, "alignment": 0.0},
}  # fmt: skip
CROPS = {
    "backbone": {"name": "efficientnet-lite0", "frozen": True, "crops": 2, "crop_px": 32,
                 "stages": "last", "frozen_copies": 2},
}  # fmt: skip
CASES = {
    **{method: (method, THIN) for method in METHODS},
    **{f"{method}-maps": (method, KEPT_MAPS) for method in ("deco", "gdrnet", "mixstyle")},
    "crops": ("erm", CROPS),
}


def train(case, table, prepared, folder):
    method, given = CASES[case]
    distributed.join()
    built, real = [], by_steps.build_algorithm
    by_steps.build_algorithm = lambda *given: built.append(real(*given)) or built[0]
    settings = training.RetinaSettings.model_validate(
        {
            "method": method, **given, "batch_size": 11,
            "fit": {"epochs": 2, "learning_rate": 2e-3, "device": "cpu", "prefetch": 0},
        }
    )  # fmt: skip
    cohort = load_cohort(table, GRADES)
    split = split_cohort(cohort, SplitSettings(held_out_sites=("corran",), val=0.2, test=0.2))
    training.train_retina(split, prepared, settings, folder)
    kept = built[0].inference_state()
    rest = {name: t for name, t in built[0].state_dict().items() if name not in kept}
    save_tensors(Path(f"{folder}-rank{distributed.rank_and_world()[0]}.safetensors"), rest)


def on_ranks(world, *arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if world > 1:  # what torchrun sets
                    os.environ |= {
                        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                        "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test",
                    }  # fmt: skip
                train(*arguments)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    table, prepared, base = sys.argv[1:4]
    for case in sys.argv[4:] or CASES:
        on_ranks(1, case, table, prepared, f"{base}/{case}-one")
        on_ranks(2, case, table, prepared, f"{base}/{case}-two")
