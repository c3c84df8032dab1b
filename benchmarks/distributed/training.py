"""``torchrun -m benchmarks.distributed.training CHECKPOINT LOG EPOCHS``: a training that may be killed and restarted.

Each process appends lines of JSON to LOG: when training starts, with the numbers of processes and of finished epochs;
and when another process is lost. At the end, process 0 appends a checksum of the parameters.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch.distributed as dist

import handmade as hm
from handmade import checkpoints
from reference import distributed

PAUSE = 0.1  # seconds after each epoch, so that kills happen during the training


class Log:
    """A callback that pauses after each epoch, with a log file of events."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, **details: Any) -> None:
        """Append an event as one line, in one write."""
        line = json.dumps({"event": event, "pid": os.getpid(), "time": time.time(), **details}) + "\n"
        with open(self.path, "a") as stream:
            stream.write(line)

    def __call__(self, network: hm.Network, history: hm.History) -> None:
        time.sleep(PAUSE)


def train(checkpoint: Path, log: Log, epochs: int, **options: Any) -> hm.Network:
    """Train up to ``epochs`` epochs, from the checkpoint if there is one."""
    X, y = hm.load_digits()
    network, optimizer = hm.MLP([64, 32, 10], normalization="batch", dropout=0.2, rng=0), hm.Adam(lr=0.01)
    done = len(checkpoints.read(checkpoint)["state"]["history"]["loss"]) if checkpoint.exists() else 0
    log.write("start", rank=dist.get_rank(), processes=dist.get_world_size(), done=done)
    distributed.fit(
        network, X[:300], y[:300], optimizer=optimizer, schedule=hm.ExponentialLR(optimizer, 0.95), epochs=epochs,
        batch_size=32, drop_last=True, rng=0, progress=False, checkpoint=checkpoint, **{"callbacks": log} | options,
    )  # fmt: skip
    return network


def main() -> None:
    """Train in one of the processes that torchrun has started."""
    checkpoint, log, epochs = Path(sys.argv[1]), Log(Path(sys.argv[2])), int(sys.argv[3])
    with distributed.group(timeout=20) as rank:
        try:
            network = train(checkpoint, log, epochs)
        except RuntimeError:
            log.write("lost")
            raise
        if rank == 0:
            checksum = hashlib.sha256(b"".join(array.tobytes() for array in network.state_dict().values())).hexdigest()
            log.write("end", checksum=checksum)
        dist.barrier()


if __name__ == "__main__":
    main()
