"""The sides of a training step and of a prediction: handmade, and each library as fast as its users can make it.

A side is built from a case, with the parameters of the case's network. ``step()`` and ``predict()`` do the work, and
``wait()`` returns when it is done, because JAX computes asynchronously. ``theta()`` returns the parameters in
handmade's order, and ``loss`` is the loss of the last step.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

import handmade as hm

from .calls import CallsAlone
from .cases import Case
from .jax_functions import jax_forward, jax_parameters, jax_state, jax_step
from .sides import CALLS, COMPILED, FLOOR, OURS, TORCH_FLOOR, Side, Unable, has_compiler

__all__ = ["SIDES", "Floor", "Handmade", "functional_gradient"]

Array = np.ndarray


class CaseSide(Side):
    """A base class of the sides of a case, see the module."""

    def __init__(self, case: Case) -> None:
        self.case, self.loss = case, np.nan
        self.X, self.y = case.data()
        self.build(case.network())
        self.work = getattr(self, case.work)

    def build(self, network: hm.Network) -> None:
        raise NotImplementedError

    def step(self):
        raise NotImplementedError

    def predict(self):
        raise NotImplementedError

    def theta(self) -> Array:
        raise NotImplementedError

    @staticmethod
    def logits(outputs: Array) -> Array:
        """Return the logits, up to a constant in each row, for the outputs that the side predicts."""
        return outputs

    def results(self) -> dict[str, Array]:
        result = self.work()
        self.wait()
        if self.case.work == "predict":
            return {"outputs": self.logits(np.array(result))}
        return {"loss": np.array(float(self.loss)), "theta": self.theta()}


class Handmade(CaseSide):
    """A step and a prediction by handmade's NumPy code."""

    def build(self, network: hm.Network) -> None:
        self.network = network
        self.optimizer = getattr(hm, self.case.optimizer)(lr=self.case.lr)

    def step(self):
        self.loss, gradient = self.network.loss_and_gradient(self.X, self.y, self.case.loss)
        self.optimizer.step(self.network.theta, gradient)

    def predict(self) -> Array:
        return self.network.predict(self.X, batch_size=len(self.X))

    def theta(self) -> Array:
        return self.network.theta.copy()

    def results(self) -> dict[str, Array]:
        before = self.theta()
        return {"before": before, **super().results(), "gradient": self.network.gradient.copy()}


class HandmadeCompiled(Handmade):
    """A step and a prediction by `handmade.compile`."""

    packages = ("numba",)

    def build(self, network: hm.Network) -> None:
        super().build(network)
        self.compiled = hm.compile(network, self.case.loss, self.optimizer)

    def step(self):
        self.loss = self.compiled(self.X, self.y)

    def predict(self) -> Array:
        return self.compiled.predict(self.X)


class Torch(CaseSide):
    """A step in eager mode, with gradients set to None and a fused optimizer; nothing is converted in a step."""

    packages = ("torch",)

    def build(self, network: hm.Network) -> None:
        import torch

        from reference import twin

        self.module = twin(network)
        self.tensors = torch.from_numpy(self.X), torch.from_numpy(self.y)
        self.optimizer = getattr(torch.optim, self.case.optimizer)(
            self.module.parameters(), lr=self.case.lr, fused=True
        )
        self.forward = self.module
        self.objective = getattr(torch.nn.functional, self.case.loss)
        self.inference = torch.inference_mode

    def step(self):
        X, y = self.tensors
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective(self.forward(X), y)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def predict(self):
        with self.inference():
            return self.forward(self.tensors[0])

    def theta(self) -> Array:
        return np.concatenate([p.detach().numpy().ravel() for p in self.module.parameters()])


class TorchCompiled(Torch):
    """A whole step as one graph of torch.compile, for fixed shapes; a prediction has frozen weights."""

    def build(self, network: hm.Network) -> None:
        import torch

        if not has_compiler():
            raise Unable("torch.compile needs a C++ compiler")
        self.is_plain = not (self.case.dropout or self.case.normalization)
        torch._dynamo.reset()  # otherwise it would compile for any shape, after other cases
        torch._inductor.config.freezing = self.case.work == "predict"
        super().build(network)
        self.inference = torch.no_grad  # weights are not frozen under inference_mode
        self.forward = torch.compile(self.module, dynamic=False)
        self.parameters = [parameter.detach() for parameter in self.module.parameters()]
        self.state = _torch_state(self.case, torch, self.parameters)
        step = _torch_step(self.case, functional_gradient(self.module, self.objective))
        self.update = torch.compile(step, dynamic=False, fullgraph=True)

    def step(self):
        if not self.is_plain:  # functional gradients allow no changes of buffers: only the passes compile
            return super().step()
        with self.inference():
            self.loss = self.update(self.parameters, self.state, *self.tensors)


def functional_gradient(module, objective):
    """Return the gradients and the loss as a function of the parameters, the inputs and the targets."""
    from torch.func import functional_call, grad_and_value

    names = [name for name, _ in module.named_parameters()]

    def loss(parameters, X, y):
        return objective(functional_call(module, dict(zip(names, parameters, strict=True)), (X,)), y)

    return grad_and_value(loss)


def _torch_step(case: Case, gradient):
    """Return a step (forward, backward, update) to compile into one graph; it returns the loss."""

    def sgd(parameters, state, X, y):
        gradients, loss = gradient(parameters, X, y)
        for p, g in zip(parameters, gradients, strict=True):
            p.copy_(p - case.lr * g)
        return loss

    def adam(parameters, state, X, y):
        t, ms, vs = state
        gradients, loss = gradient(parameters, X, y)
        t += 1
        root, scale = (1 - 0.999**t).sqrt(), case.lr / (1 - 0.9**t)
        for p, g, m, v in zip(parameters, gradients, ms, vs, strict=True):
            m.copy_(0.9 * m + 0.1 * g)
            v.copy_(0.999 * v + 0.001 * g * g)
            p.copy_(p - scale * m / (v.sqrt() / root + 1e-8))
        return loss

    return {"SGD": sgd, "Adam": adam}[case.optimizer]


def _torch_state(case: Case, torch, parameters):
    if case.optimizer == "SGD":
        return ()
    zeros = [[torch.zeros_like(parameter) for parameter in parameters] for _ in range(2)]
    return torch.zeros((), dtype=parameters[0].dtype), *zeros


class Jax(CaseSide):
    """A whole step as one jitted function, to which the old parameters and state are donated."""

    packages = ("jax",)

    def build(self, network: hm.Network) -> None:
        import jax

        jax.config.update("jax_enable_x64", self.case.dtype == "float64")
        self.jax = jax
        self.arrays = jax.numpy.asarray(self.X), jax.numpy.asarray(self.y)
        self.parameters = jax_parameters(self.case, jax, network)
        self.state = jax_state(self.case, jax, self.parameters)
        forward = jax_forward(self.case.activation, jax)
        self.forward = jax.jit(partial(forward, self.parameters))  # in a prediction, the weights are constants
        self.update = jax.jit(jax_step(self.case, jax, forward), donate_argnums=(0, 1))

    def step(self):
        self.parameters, self.state, self.loss = self.update(self.parameters, self.state, *self.arrays)

    def predict(self):
        self.output = self.forward(self.arrays[0])
        return self.output

    def wait(self) -> None:
        self.jax.block_until_ready((self.parameters, getattr(self, "output", None)))

    def theta(self) -> Array:
        return np.concatenate([np.asarray(part).ravel() for W, *rest in self.parameters for part in (W.T, *rest)])


class ScikitLearn(CaseSide):
    """A call of MLPClassifier.partial_fit on one batch, or of predict_proba, which ends with the softmax."""

    packages = ("sklearn",)

    def build(self, network: hm.Network) -> None:
        import sklearn
        from sklearn.neural_network import MLPClassifier

        if self.case.dropout or self.case.normalization:
            raise Unable("scikit-learn has neither dropout nor batch normalization")
        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        case = self.case
        options = dict(
            hidden_layer_sizes=case.sizes[1:-1],
            activation={"relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}[case.activation],
            solver=case.optimizer.lower(),
            alpha=0.0,
            batch_size=case.batch,
            learning_rate_init=case.lr,
            shuffle=False,
        )
        if case.optimizer == "SGD":
            options |= dict(momentum=0.0, nesterovs_momentum=False)
        else:  # added before the bias correction: in the first step, which is compared, it equals 1e-8 after
            options |= dict(epsilon=1e-8 * (1 - 0.999) ** 0.5)
        if case.loss == "cross_entropy":
            if case.sizes[-1] == 2:
                raise Unable("MLPClassifier has one output for two classes: another network")
            self.model = MLPClassifier(**options)
            self.model.partial_fit(self.X, self.y, classes=np.arange(case.sizes[-1]))
        else:
            raise Unable("MLPRegressor has another loss: half the squared error")
        for name, array in network.blocks(network.theta).items():
            i, kind = name.split(".")
            own = self.model.coefs_ if kind == "weight" else self.model.intercepts_
            own[int(i) // 2][...] = array.T
        optimizer = self.model._optimizer  # its state starts anew, too
        if case.optimizer == "Adam":
            optimizer.t = 0
            for moment in (*optimizer.ms, *optimizer.vs):
                moment[...] = 0

    def step(self):
        self.model.partial_fit(self.X, self.y)
        self.loss = self.model.loss_

    def predict(self):
        return self.model.predict_proba(self.X)

    @staticmethod
    def logits(outputs: Array) -> Array:
        return np.log(outputs)  # up to a constant in each row

    def theta(self) -> Array:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return np.concatenate([part.ravel() for W, b in pairs for part in (W.T, b)])


class OnnxRuntime(CaseSide):
    """A prediction by a graph of Gemm and activation nodes, fully optimized, on all cores, bound to fixed arrays."""

    packages = ("onnxruntime", "onnx")

    def build(self, network: hm.Network) -> None:
        if self.case.work != "predict":
            raise Unable("ONNX Runtime is used for predictions only")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        model = _onnx_model(self.case, network)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.output = np.empty((self.case.batch, self.case.sizes[-1]), self.case.dtype)
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("X", self.X)
        self.binding.bind_output("Z", "cpu", 0, self.output.dtype, self.output.shape, self.output.ctypes.data)

    def predict(self) -> Array:
        self.session.run_with_iobinding(self.binding)
        return self.output


def _onnx_model(case: Case, network: hm.Network) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, last = [], [], "X"
    depth = len(case.sizes) - 1
    blocks = list(network.blocks(network.theta).values())
    for i, (W, b) in enumerate(zip(blocks[::2], blocks[1::2], strict=True)):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(W.T), f"W{i}"))
        initializers.append(numpy_helper.from_array(b.copy(), f"b{i}"))
        output = "Z" if i == depth - 1 else f"A{i}"
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [output]))
        if i < depth - 1:
            nodes.append(helper.make_node(case.activation.capitalize(), [output], [f"H{i}"]))
            last = f"H{i}"
    kind = TensorProto.FLOAT if case.dtype == "float32" else TensorProto.DOUBLE
    X = helper.make_tensor_value_info("X", kind, ["N", case.sizes[0]])
    Z = helper.make_tensor_value_info("Z", kind, ["N", case.sizes[-1]])
    graph = helper.make_graph(nodes, "mlp", [X], [Z], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


class Floor(CaseSide):
    """The matrix products of the case alone, by the same BLAS, into allocated arrays.

    Their operands are in handmade's order, A.T = W X.T, which is the faster one.
    """

    def build(self, network: hm.Network) -> None:
        rng = np.random.default_rng(0)
        self.jobs: list[tuple[Array, Array, Array]] = []
        N, dtype = self.case.batch, self.case.dtype
        below = self.X.T
        for i, (I, O) in enumerate(itertools.pairwise(self.case.sizes)):
            W, A = rng.standard_normal((O, I)).astype(dtype), rng.standard_normal((O, N)).astype(dtype)
            self.jobs.append((W, below, A))
            if self.case.work == "step":
                dA = rng.standard_normal((O, N)).astype(dtype)
                self.jobs.append((dA, below.T, np.empty_like(W)))
                if i:
                    self.jobs.append((W.T, dA, np.empty((I, N), dtype)))
            below = A

    def step(self):
        for left, right, out in self.jobs:
            left.dot(right, out)

    predict = step

    def results(self) -> dict[str, Array]:
        self.step()
        return {}


class TorchFloor(Floor):
    """The same products by PyTorch's BLAS, for large networks, to separate the effect of the BLAS."""

    packages = ("torch",)

    def build(self, network: hm.Network) -> None:
        import torch

        if self.case.parameter_count < 10**6:
            raise Unable("the products of small networks take too little time to compare")
        super().build(network)
        self.jobs = [tuple(map(torch.from_numpy, job)) for job in self.jobs]
        self.multiply = torch.mm

    def step(self):
        for left, right, out in self.jobs:
            self.multiply(left, right, out=out)

    predict = step


class Calls(CaseSide):
    """The NumPy calls that the work consists of, without a library around them."""

    def build(self, network: hm.Network) -> None:
        if self.case.dropout or self.case.normalization:
            raise Unable("the lists of calls have neither dropout nor batch normalization")
        self.network, self.calls = network, CallsAlone(self.case, network)

    def step(self) -> None:
        for function, arguments in self.calls.step:
            function(*arguments)
        self.loss = float(self.calls.loss)

    def predict(self) -> Array:
        for function, arguments in self.calls.forward:
            function(*arguments)
        return self.calls.Z.T

    def theta(self) -> Array:
        return self.network.theta.copy()


SIDES: dict[str, type[Side]] = {
    OURS: Handmade,
    COMPILED: HandmadeCompiled,
    "torch": Torch,
    "torch.compile": TorchCompiled,
    "JAX": Jax,
    "scikit-learn": ScikitLearn,
    "ONNX Runtime": OnnxRuntime,
    FLOOR: Floor,
    TORCH_FLOOR: TorchFloor,
    CALLS: Calls,
}
Case.sides = SIDES
