"""Epochs of training: a job, and the libraries that do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

import handmade as hm
from handmade._steps import BLOCK

from .calls import Call, CallsAlone
from .cases import Case
from .jax_functions import jax_forward
from .peers import Floor, functional_gradient
from .sides import CALLS, COMPILED, FLOOR, OURS, Disagreement, Side, Unable, has_compiler

__all__ = ["Epoch"]

Array = np.ndarray


@dataclass(frozen=True)
class Epoch:
    """A training of some epochs, each in a new order: SGD with momentum on minibatches, float32, ReLU, cross-entropy.

    Before the first epoch, handmade and scikit-learn check all data; handmade also checks the network and the loss.

    Parameters
    ----------
    text : str
        A description of the data, for the title.
    samples : int
        The number of samples.
    sizes, batch
        Inputs, hidden units and outputs; samples in a minibatch.
    epochs : int
        The number of epochs in one call of ``work``, which includes the checks.
    """

    text: str
    samples: int
    sizes: tuple[int, ...]
    batch: int
    epochs: int

    lr, momentum = 0.01, 0.9

    @property
    def title(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"{self.epochs} epochs: {self.text}, {self.samples:,} samples, {shape}, batch {self.batch}"

    def data(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.samples, self.sizes[0]), dtype=np.float32)
        return X, rng.integers(0, self.sizes[-1], self.samples)

    def network(self) -> hm.MLP:
        return hm.MLP(self.sizes, rng=0, dtype=np.float32)

    @property
    def sides(self) -> dict[str, type[Side]]:
        loops = {"torch": TorchLoop, "torch.compile": CompiledLoop, "JAX": JaxScan}
        ours = {OURS: Fit, COMPILED: FitCompiled, CALLS: CallsOfAnEpoch, FLOOR: ProductsOfAnEpoch}
        return {**ours, **loops, "scikit-learn": FitOfSklearn}

    def check(self, name: str, theirs: Mapping[str, Array], ours: Mapping[str, Array]) -> None:
        """Compare the parameters after an epoch without shuffling; each step may round as much as a single one."""
        if not theirs:  # the matrix products alone have no results
            return
        steps = -(-self.samples // self.batch)
        allowed = steps * (sum(self.sizes) + self.batch) * float(np.finfo(np.float32).eps)
        moved = np.linalg.norm(ours["theta"] - self.network().theta)
        apart = np.linalg.norm(theirs["theta"] - ours["theta"]) / moved
        if not apart <= allowed:
            raise Disagreement(f"{name}, {self.title}: relative error {apart:.1g}, more than {allowed:.1g}")


class Fit(Side):
    """A call of `handmade.fit`, including its checks of all data."""

    compile = False

    def __init__(self, job: Epoch) -> None:
        self.job, self.network, (self.X, self.y) = job, job.network(), job.data()
        self.optimizer = hm.SGD(lr=job.lr, momentum=job.momentum)

    def work(self) -> None:
        self.fit(self.job.epochs)

    def fit(self, epochs: int, shuffle: bool = True) -> None:
        hm.fit(self.network, self.X, self.y, optimizer=self.optimizer, epochs=epochs, batch_size=self.job.batch,
               shuffle=shuffle, rng=0, progress=False, compile=self.compile)  # fmt: skip

    def results(self) -> dict[str, Array]:
        self.fit(1, shuffle=False)
        return {"theta": self.network.theta.copy()}


class FitCompiled(Fit):
    """A call of `handmade.fit` with ``compile=True``; each call translates the network again."""

    packages = ("numba",)
    compile = True


class StepWithMomentum(CallsAlone):
    """The calls of a step of SGD with momentum. The steps of all batch sizes share one velocity."""

    def __init__(self, job: Epoch, batch: int, network: hm.Network, velocity: Array) -> None:
        self.job, self.velocity = job, velocity
        super().__init__(Case(job.sizes, batch), network)

    def _update(self) -> Iterator[Call]:
        lr, momentum = self.number(self.job.lr), self.number(self.job.momentum)
        size = BLOCK // self.theta.itemsize
        scratch = np.empty_like(self.theta[:size])
        for start in range(0, len(self.theta), size):
            theta, gradient, v = (a[start : start + size] for a in (self.theta, self.gradient, self.velocity))
            change = scratch[: len(v)]
            yield np.multiply, (v, momentum, v)
            yield np.add, (v, gradient, v)
            yield np.multiply, (v, lr, change)
            yield np.subtract, (theta, change, theta)


class CallsOfAnEpoch(Side):
    """A list of NumPy's calls alone: those of each step, and two that gather the rows of its batch."""

    def __init__(self, job: Epoch) -> None:
        self.job, self.network, (self.X, self.y) = job, job.network(), job.data()
        self.rng, velocity = np.random.default_rng(0), np.zeros_like(self.network.theta)
        sizes = {job.batch, job.samples % job.batch or job.batch}
        self.steps = {size: StepWithMomentum(job, size, self.network, velocity) for size in sizes}

    def epoch(self, order: Array) -> None:
        for start in range(0, len(order), self.job.batch):
            rows = order[start : start + self.job.batch]
            calls = self.steps[len(rows)]
            self.X.take(rows, 0, calls.X, "clip")
            self.y.take(rows, 0, calls.y, "clip")
            for function, arguments in calls.step:
                function(*arguments)

    def work(self) -> None:
        for _ in range(self.job.epochs):
            self.epoch(self.rng.permutation(self.job.samples))

    def results(self) -> dict[str, Array]:
        self.epoch(np.arange(self.job.samples))
        return {"theta": self.network.theta.copy()}


class ProductsOfAnEpoch(Side):
    """The matrix products of all steps, without any other work."""

    def __init__(self, job: Epoch) -> None:
        full, rest = divmod(job.samples, job.batch)
        counts = {job.batch: full, rest: 1} if rest else {job.batch: full}
        self.parts = [(Floor(Case(job.sizes, batch)), job.epochs * count) for batch, count in counts.items()]

    def work(self) -> None:
        for floor, count in self.parts:
            for _ in range(count):
                floor.step()

    def results(self) -> dict[str, Array]:
        return {}


class TorchLoop(Side):
    """The fastest loop in PyTorch's eager mode: rows gathered by index, without a DataLoader; a fused optimizer."""

    packages = ("torch",)

    def __init__(self, job: Epoch) -> None:
        import torch

        from reference import twin

        self.job, self.torch, self.module = job, torch, twin(job.network())
        X, y = job.data()
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=job.lr, momentum=job.momentum, fused=True)

    def epoch(self, order) -> None:
        cross_entropy = self.torch.nn.functional.cross_entropy
        for rows in order.split(self.job.batch):
            self.optimizer.zero_grad(set_to_none=True)
            cross_entropy(self.module(self.X[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def work(self) -> None:
        for _ in range(self.job.epochs):
            self.epoch(self.torch.randperm(self.job.samples))

    def results(self) -> dict[str, Array]:
        self.epoch(self.torch.arange(self.job.samples))
        return {"theta": np.concatenate([p.detach().numpy().ravel() for p in self.module.parameters()])}


class CompiledLoop(TorchLoop):
    """The loop of `TorchLoop` with each step compiled into one graph."""

    def __init__(self, job: Epoch) -> None:
        if not has_compiler():
            raise Unable("torch.compile needs a C++ compiler")
        super().__init__(job)
        self.torch._dynamo.reset()
        self.parameters = [parameter.detach() for parameter in self.module.parameters()]
        self.velocity = [self.torch.zeros_like(parameter) for parameter in self.parameters]
        gradient = functional_gradient(self.module, self.torch.nn.functional.cross_entropy)

        def step(X, y):
            gradients, _ = gradient(self.parameters, X, y)
            for p, v, g in zip(self.parameters, self.velocity, gradients, strict=True):
                v.copy_(job.momentum * v + g)
                p.copy_(p - job.lr * v)

        # Compiled twice, because the last batch is shorter.
        self.step = self.torch.compile(step, dynamic=False, fullgraph=True)

    def epoch(self, order) -> None:
        with self.torch.no_grad():
            for rows in order.split(self.job.batch):
                self.step(self.X[rows], self.y[rows])


class JaxScan(Side):
    """An epoch as one jitted scan over the batches, to which parameters and velocity are donated."""

    packages = ("jax",)

    def __init__(self, job: Epoch) -> None:
        import jax

        jax.config.update("jax_enable_x64", False)
        self.job, self.jax = job, jax
        X, y = job.data()
        self.X, self.y = jax.numpy.asarray(X), jax.numpy.asarray(y)
        blocks = list(job.network().blocks(job.network().theta).values())
        pairs = zip(blocks[::2], blocks[1::2], strict=True)
        parameters = [(jax.numpy.array(W.T), jax.numpy.array(b)) for W, b in pairs]
        self.state = parameters, jax.tree_util.tree_map(jax.numpy.zeros_like, parameters)
        self.rng = np.random.default_rng(0)
        self.run = jax.jit(self._epoch, donate_argnums=0)

    def _epoch(self, state, X, y, order):
        jax, job = self.jax, self.job
        forward = jax_forward("relu", jax)

        def loss(parameters, rows):
            log_p = jax.nn.log_softmax(forward(parameters, X[rows]))
            return -jax.numpy.take_along_axis(log_p, y[rows][:, None], axis=1).mean()

        def step(state, rows):
            parameters, velocity = state
            gradient = jax.grad(loss)(parameters, rows)
            velocity = jax.tree_util.tree_map(lambda v, g: job.momentum * v + g, velocity, gradient)
            return (jax.tree_util.tree_map(lambda p, v: p - job.lr * v, parameters, velocity), velocity), None

        full = len(order) // job.batch * job.batch
        state, _ = jax.lax.scan(step, state, order[:full].reshape(-1, job.batch))
        return step(state, order[full:])[0] if full < len(order) else state

    def work(self) -> None:
        for _ in range(self.job.epochs):
            self.state = self.run(self.state, self.X, self.y, self.rng.permutation(self.job.samples))

    def wait(self) -> None:
        self.jax.block_until_ready(self.state)

    def results(self) -> dict[str, Array]:
        self.state = self.run(self.state, self.X, self.y, np.arange(self.job.samples))
        return {"theta": np.concatenate([np.asarray(part).ravel() for W, b in self.state[0] for part in (W.T, b)])}


class FitOfSklearn(Side):
    """A call of MLPClassifier.fit; warm_start keeps the weights from call to call."""

    packages = ("sklearn",)

    def __init__(self, job: Epoch) -> None:
        import sklearn
        from sklearn.neural_network import MLPClassifier

        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        self.job, (self.X, self.y) = job, job.data()
        self.model = MLPClassifier(
            job.sizes[1:-1], solver="sgd", alpha=0.0, batch_size=job.batch, learning_rate_init=job.lr,
            momentum=job.momentum, nesterovs_momentum=False, max_iter=job.epochs, warm_start=True, random_state=0,
        )  # fmt: skip

    def work(self) -> None:
        self.model.fit(self.X, self.y)

    def results(self) -> dict[str, Array]:
        self.work()
        for name, array in self.job.network().blocks(self.job.network().theta).items():
            i, kind = name.split(".")
            (self.model.coefs_ if kind == "weight" else self.model.intercepts_)[int(i) // 2][...] = array.T
        self.model.set_params(shuffle=False, max_iter=1)
        self.work()
        self.model.set_params(shuffle=True, max_iter=self.job.epochs)
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return {"theta": np.concatenate([part.ravel() for W, b in pairs for part in (W.T, b)])}
