"""Memory of a training step and of a process, and the time of an import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np

from .cases import Case

__all__ = ["import_ratio", "memmap_growth", "resident", "step_memory"]

ROOT = Path(__file__).parents[2]
STATE = {"SGD": 0, "Adam": 2}  # state vectors of the optimizer, each as long as theta


def step_memory(case: Case, steps: int = 20) -> dict[str, int]:
    """Return the bytes that a training step of handmade allocates, traced by tracemalloc.

    Returns
    -------
    dict of str to int
        ``kept``: growth from the end of the first step to that of the last. ``temporary``: the largest growth at any
        time between. ``peak``: the most that network, optimizer and steps held together, without the batch.
        ``bound``: parameters x (2 + optimizer state) plus three times the outputs of all layers.
    """
    from .peers import Handmade

    Handmade(Case((3, 4, 2), 1, optimizer=case.optimizer)).step()  # imports are not counted
    tracemalloc.start()
    try:
        side = Handmade(case)
        side.step()
        first = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(steps):
            side.step()
        last, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = np.dtype(case.dtype).itemsize
    outputs = case.batch * (2 * sum(case.sizes[1:-1]) + case.sizes[-1])
    bound = size * (case.parameter_count * (2 + STATE[case.optimizer]) + 3 * outputs)
    batch = side.X.nbytes + side.y.nbytes
    return {"kept": last - first, "temporary": peak - first, "peak": peak - batch, "bound": bound}


# Programs that make five training steps. Each imports only what a user of that library would.
TRAIN = {
    "handmade": """
import numpy as np, handmade as hm
X, y = np.ones((N, sizes[0]), np.float32), np.zeros(N, int)
network, optimizer = hm.MLP(sizes, dtype=np.float32), hm.SGD(lr=1e-3)
for _ in range(5):
    loss, gradient = network.loss_and_gradient(X, y)
    optimizer.step(network.theta, gradient)
""",
    "handmade, compiled": """
import numpy as np, handmade as hm
X, y = np.ones((N, sizes[0]), np.float32), np.zeros(N, int)
step = hm.compile(hm.MLP(sizes, dtype=np.float32), optimizer=hm.SGD(lr=1e-3))
for _ in range(5):
    step(X, y)
""",
    "torch": """
import torch
X, y = torch.ones(N, sizes[0]), torch.zeros(N, dtype=int)
layers = []
for below, above in zip(sizes, sizes[1:]):
    layers += [torch.nn.Linear(below, above), torch.nn.ReLU()]
module = torch.nn.Sequential(*layers[:-1])
optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, fused=True)
for _ in range(5):
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(module(X), y).backward()
    optimizer.step()
""",
    "JAX": """
import jax, jax.numpy as jnp
X, y = jnp.ones((N, sizes[0])), jnp.zeros(N, int)
pairs = list(zip(sizes, sizes[1:]))
parameters = [(0.01 * jax.random.normal(jax.random.key(i), pair), jnp.zeros(pair[1])) for i, pair in enumerate(pairs)]
def loss(parameters, X, y):
    for W, b in parameters[:-1]:
        X = jax.nn.relu(X @ W + b)
    W, b = parameters[-1]
    return -jnp.take_along_axis(jax.nn.log_softmax(X @ W + b), y[:, None], axis=1).mean()
def step(parameters, X, y):
    gradient = jax.grad(loss)(parameters, X, y)
    return jax.tree_util.tree_map(lambda p, g: p - 1e-3 * g, parameters, gradient)
step = jax.jit(step, donate_argnums=0)
for _ in range(5):
    parameters = step(parameters, X, y)
jax.block_until_ready(parameters)
""",
}


def resident(side: str, sizes: tuple[int, ...], batch: int) -> int:
    """Return the peak resident size, in bytes, of a process that makes five training steps with a side."""
    return 1024 * int(run_python(f"sizes, N = {list(sizes)}, {batch}\n{TRAIN[side]}\n{status('VmHWM')}\nprint(status)"))


def status(name: str) -> str:
    """Return the line of Python that reads a field in kilobytes, such as VmHWM, from Linux's /proc/self/status."""
    return f"import re; status = int(re.search(r'{name}:\\s+(\\d+)', open('/proc/self/status').read())[1])"


MEMMAP = f"""
import sys, threading
import numpy as np, handmade as hm
def anonymous():
    {status("RssAnon")}
    return status
X = np.memmap(sys.argv[1], np.float32, "r").reshape(-1, 8192)
network, y = hm.MLP([8192, 32, 10], dtype=np.float32, rng=0), np.arange(len(X)) % 10
samples, done = [], threading.Event()
def watch():
    while not done.wait(0.02):
        samples.append(anonymous())
watcher = threading.Thread(target=watch)
watcher.start()
hm.fit(network, X, y, optimizer=hm.SGD(lr=1e-3), epochs=1, batch_size=256, rng=0, progress=False)
done.set()
watcher.join()
print(max([*samples, anonymous()]))
"""


def memmap_growth(size: int) -> int:
    """Return the peak anonymous memory, in bytes, of a process that fits an epoch on a memmap of ``size`` bytes.

    The file is sparse. Its pages are not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X"
        with open(path, "wb") as stream:
            stream.truncate(size // (4 * 8192) * 4 * 8192)
        return 1024 * int(run_python(MEMMAP, str(path)))


def import_ratio(rounds: int = 7) -> list[float]:
    """Return the time of ``import handmade`` divided by that of ``import numpy``, for each round."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    run_python("import handmade")  # writes the bytecode, as an installation does
    return [float(run_python(code.format("handmade"))) / float(run_python(code.format("numpy"))) for _ in range(rounds)]


def run_python(code: str, *arguments: str) -> str:
    """Run a program in a new Python, and return what it prints; raise RuntimeError if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if run.returncode:
        raise RuntimeError(f"a measurement failed:\n{run.stderr[-2000:]}")
    return run.stdout
