"""One training step and one prediction, handmade beside PyTorch, on five shapes.

    python -m pytest benchmarks/speed

Each group of the printed table is one shape; compare within a group only, in one run. Both sides start from the same
parameters on the same data, and must agree on the loss before they are timed. PyTorch runs eager, as its users run
it: gradients set to None, the optimizer's fastest form, no DataLoader. PyTorch and NumPy both use all cores.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import handmade as hm
from reference import twin

SHAPES = {
    "3-4-2, batch 1": ([3, 4, 2], 1),
    "64-32-10, batch 32": ([64, 32, 10], 32),
    "784-128-10, batch 64": ([784, 128, 10], 64),
    "784-300-100-10, batch 128": ([784, 300, 100, 10], 128),
    "784-800-800-10, batch 128": ([784, 800, 800, 10], 128),
}
LR = 1e-3


class Handmade:
    def __init__(self, network: hm.Network, X: np.ndarray, y: np.ndarray) -> None:
        self.network, self.X, self.y = network, X, y
        self.optimizer = hm.SGD(lr=LR, momentum=0.9)

    def step(self) -> float:
        loss, gradient = self.network.loss_and_gradient(self.X, self.y)
        self.optimizer.step(self.network.theta, gradient)
        return loss

    def predict(self) -> np.ndarray:
        return self.network.predict(self.X)


class Torch:
    def __init__(self, network: hm.Network, X: np.ndarray, y: np.ndarray) -> None:
        self.module, self.X, self.y = twin(network), torch.tensor(X), torch.tensor(y)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=LR, momentum=0.9, fused=True)

    def step(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(self.module(self.X), self.y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def predict(self) -> np.ndarray:
        return self.module(self.X).numpy()


@pytest.fixture(params=SHAPES, scope="module")
def sides(request):
    """Both sides, after a step each that gave the same loss and left the same outputs."""
    sizes, batch = SHAPES[request.param]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], batch)
    network = hm.MLP(sizes, rng=0, dtype=np.float32)
    pair = {"torch": Torch(network, X, y), "handmade": Handmade(network, X, y)}
    own, other = pair["handmade"].step(), pair["torch"].step()
    # A float32 sum over the widest layer is good to its length times eps.
    allowed = max(sizes) * np.finfo(np.float32).eps
    assert abs(own - other) <= allowed * abs(other)
    np.testing.assert_allclose(pair["handmade"].predict(), pair["torch"].predict(), rtol=allowed, atol=allowed)
    return request.param, pair


@pytest.mark.parametrize("work", ["step", "predict"])
@pytest.mark.parametrize("side", ["handmade", "torch"])
def test_speed(benchmark, sides, side, work):
    shape, pair = sides
    benchmark.group = f"{work}: {shape}"
    benchmark(getattr(pair[side], work))
