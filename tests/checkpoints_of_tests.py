"""Trainings that the tests of checkpoints interrupt and resume."""

from __future__ import annotations

import json
import signal

import numpy as np

import handmade as hm
from handmade import checkpoints

X = np.random.default_rng(0).normal(size=(37, 5))
Y = np.random.default_rng(1).integers(0, 3, 37)
EPOCHS = 4

OPTIMIZERS = [
    lambda network: hm.SGD(lr=0.05),
    lambda network: hm.SGD(lr=0.05, momentum=0.9, dampening=0.1),
    lambda network: hm.SGD(lr=0.05, momentum=0.9, nesterov=True),
    lambda network: hm.Momentum1986(lr=0.05, momentum=0.5),
    lambda network: hm.Adagrad(lr=0.05),
    lambda network: hm.RMSprop(lr=0.01, momentum=0.5, centered=True),
    lambda network: hm.Adam(lr=0.01, amsgrad=True),
    lambda network: hm.AdamW(lr=0.01),
    lambda network: hm.ASGD(lr=0.05, lambd=0.1, t0=5),
    lambda network: hm.Rprop(lr=0.001),
    lambda network: hm.Lion(lr=0.001, weight_decay=0.1),
    lambda network: hm.Adadelta(),
    lambda network: hm.NAdam(lr=0.01),
    lambda network: hm.RAdam(lr=0.01),
    lambda network: hm.Adamax(lr=0.01),
    lambda network: hm.Adafactor(),
    lambda network: hm.LBFGS(max_iter=3, line_search_fn="strong_wolfe"),
    lambda network: hm.ParameterGroups(
        {hm.optimizers.is_vector: hm.AdamW(weight_decay=0.0), "0.*": hm.Muon(lr=0.01), "*": hm.SGD(momentum=0.9)}
    ),
    lambda network: hm.Chain(
        hm.L1(1e-4), hm.ClipGradNorm(1.0), hm.ParameterGroups({"*.bias": hm.Adam(), "*": hm.RMSprop()})
    ),
    lambda network: hm.Chain(
        hm.L1(1e-4), hm.ClipGradNorm(1.0), hm.Adam(lr=0.01), hm.MaxNorm([network.layers[0].W], 0.8)
    ),
]
SCHEDULES = [
    lambda o: None,
    lambda o: (hm.StepLR(o, 2), "epoch"),
    lambda o: (hm.MultiStepLR(o, [3, 9]), "batch"),
    lambda o: (hm.ExponentialLR(o, 0.9), "batch"),
    lambda o: (hm.ConstantLR(o, 0.5, 3), "batch"),
    lambda o: (hm.LinearLR(o, 0.5, total_iters=7), "batch"),
    lambda o: (hm.PolynomialLR(o, 40), "batch"),
    lambda o: (hm.CosineAnnealingLR(o, 9), "batch"),
    lambda o: (hm.CosineAnnealingWarmRestarts(o, 5), "batch"),
    lambda o: (hm.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False), "batch"),
    lambda o: (hm.OneCycleLR(o, 0.1, total_steps=200, cycle_momentum=False), "batch"),
    lambda o: (hm.LambdaLR(o, lambda t: 1 / (1 + t)), "batch"),
    lambda o: (hm.MultiplicativeLR(o, lambda t: 0.95), "batch"),
    lambda o: (hm.ReduceLROnPlateau(o, patience=0), "epoch"),
    lambda o: (hm.SequentialLR(o, [hm.LinearLR(o, 0.5), hm.ExponentialLR(o, 0.9)], milestones=[5]), "batch"),
    lambda o: (hm.ChainedScheduler([hm.ExponentialLR(o, 0.9), hm.LinearLR(o, 0.5)]), "batch"),
    lambda o: [(hm.LinearLR(o, 0.5, total_iters=7), "batch"), (hm.ReduceLROnPlateau(o, patience=0), "epoch")],
]


class Counter:
    """A callback with state of its own, which moves the network."""

    def __init__(self):
        self.calls, self.sums = 0, np.zeros(2)

    def __call__(self, network, history):
        self.calls += 1
        self.sums += history.loss[-1], self.calls
        network.theta *= 1 - 1e-3 * self.calls

    def state_dict(self):
        return {"calls": self.calls, "sums": self.sums.copy()}

    def load_state_dict(self, state_dict):
        self.calls, self.sums = state_dict["calls"], np.array(state_dict["sums"])


def draw(rng):
    """Return a configuration, as functions that build everything anew."""
    return dict(
        optimizer=OPTIMIZERS[rng.integers(len(OPTIMIZERS))],
        schedule=SCHEDULES[rng.integers(len(SCHEDULES))],
        dropout=float(rng.choice([0.0, 0.3])),
        normalization=[None, "batch", "layer", "rms", "every other layer"][rng.integers(5)],
        dtype=["float64", "float32"][rng.integers(2)],
        early_stopping=[None, hm.EarlyStopping(1), hm.EarlyStopping(2, monitor="loss")][rng.integers(3)],
        average=[None, {"decay": 0.9}, {"start": 2}][rng.integers(3)],
        validation=[0.2, (X[:9], Y[:9])][rng.integers(2)],
        batch_size=int(rng.integers(3, 12)),
        shuffle=bool(rng.integers(2)),
        weighted=bool(rng.integers(2)),
        shared=bool(rng.integers(2)),
        seed=int(rng.integers(1000)),
        counts=bool(rng.random() < 0.3),
        compile="auto" if rng.random() < 0.3 else False,
    )


class Stop:
    """A callback that presses Ctrl-C after so many updates of this process."""

    def __init__(self, after):
        self.left = after

    def __call__(self, network, history):
        """Do nothing after an epoch."""

    def on_batch(self, network, loss):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def build(c, rng):
    """Return the network of a configuration."""
    if c["normalization"] != "every other layer":
        options = {name: c[name] for name in ("normalization", "dropout", "dtype")}
        return hm.MLP([5, 6, 4, 3], **options, rng=rng)
    inner = [hm.GroupNorm(2, 6), hm.Dense(6, 4, rng=rng), hm.SwiGLU(), hm.Dense(2, 6, rng=rng)]
    layers = [hm.Dense(5, 6, rng=rng), hm.PReLU(6), hm.AlphaDropout(c["dropout"], rng=rng), hm.Residual(inner)]
    layers += [hm.RMSNorm(6), hm.PReLU(), hm.Concatenate([hm.Dense(6, 2, rng=rng), hm.GLU()]), hm.Dense(7, 3, rng=rng)]
    return hm.Network(layers, dtype=c["dtype"])


def run(c, path=None, stop=None, X=X, **options):
    """Train from nothing, or from the checkpoint; return all that has to agree, and the history."""
    rng = np.random.default_rng(c["seed"])
    network = build(c, rng if c["shared"] else np.random.default_rng(3))
    optimizer = c["optimizer"](network)
    schedule = c["schedule"](getattr(optimizer, "steps", [optimizer] * 3)[2])
    average = None if c["average"] is None else hm.AveragedModel(**c["average"])
    counter = Counter() if c["counts"] else None
    all_at_once = getattr(optimizer, "needs_evaluate", False)
    options = dict(
        optimizer=optimizer, schedule=schedule if isinstance(schedule, list | None) else [schedule], epochs=EPOCHS,
        early_stopping=c["early_stopping"], validation=c["validation"],
        batch_size=None if all_at_once else c["batch_size"], compile=c["compile"] and not all_at_once and "auto",
        shuffle=c["shuffle"], drop_last=c["normalization"] == "batch",
        sample_weight=np.arange(1.0, 38.0) if c["weighted"] else None,
        rng=rng, progress=False, metrics="accuracy", checkpoint=path,
        callbacks=[part for part in (average, counter, stop) if part is not None],
    ) | options  # fmt: skip
    history = hm.fit(network, X, Y, **options)
    parts = [network.state_dict(), optimizer.state_dict(), average and average.state_dict()]
    parts += [counter and counter.state_dict(), rng.bit_generator.state]
    parts += [one.state_dict() for one, _ in options["schedule"] or []]
    parts += [leaf.rng.bit_generator.state for _, leaf in network.leaves() if hasattr(leaf, "rng")]
    numbers = {name: values for name, values in vars(history).items() if name not in ("seconds", "stopped")}
    arrays = []
    text = json.dumps(checkpoints.encode([*parts, numbers], arrays))
    return (text, [array.tobytes() for array in arrays], average and average.n_averaged), history


PLAIN = dict(
    optimizer=OPTIMIZERS[6], schedule=SCHEDULES[3], dropout=0.3, normalization="batch", dtype="float64",
    early_stopping=None, average={"decay": 0.9}, validation=0.2, batch_size=8, shuffle=True, weighted=False,
    shared=False, seed=7, counts=False, compile=False,
)  # fmt: skip
