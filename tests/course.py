"""An example course: an exercise and thirty submissions, right, wrong and hostile; written to a folder.

python tests/course.py course
python -m handmade.grading course/exercise.py course/submissions
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

EXERCISE = """\
import handmade as hm
from handmade.grading import Exercise, Limits

network = hm.MLP([2, 4, 3, 2], activation="tanh", rng=0)
X, y = hm.data.moons(20, noise=0.1, rng=0)
exercise = Exercise(network, X, y, limits=Limits(cpu_seconds=1, memory=2**28))
"""

# ---- right, in the styles of several courses -----------------------------------------------------------------------

PLAIN = """\
import numpy as np


def forward(parameters, X):
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = np.tanh(X @ W0.T + b0)
    H1 = np.tanh(H0 @ W1.T + b1)
    return H1 @ W2.T + b2


def backward(parameters, X, y):
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = np.tanh(X @ W0.T + b0)
    H1 = np.tanh(H0 @ W1.T + b1)
    Z = H1 @ W2.T + b2
    P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    dA2 = (P - np.eye(2)[y]) / len(X)
    dA1 = dA2 @ W2 * (1 - H1**2)
    dA0 = dA1 @ W1 * (1 - H0**2)
    return [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H0, dA1.sum(axis=0), dA2.T @ H1, dA2.sum(axis=0)]
"""
LOSS = """

def loss(parameters, X, y):
    Z = forward(parameters, X)
    return np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y])
"""
BOTH = """

def loss_and_gradient(parameters, X, y):
    return loss(parameters, X, y), backward(parameters, X, y)
"""

# Stanford's cs231n: a class with self.params, W of shape (I, O), loss(X, y) -> (loss, grads).
DICT_OF_PARAMETERS = '''\
import numpy as np


class FullyConnectedNet:
    def __init__(self, hidden_dims, input_dim=3 * 32 * 32, num_classes=10, reg=0.0, weight_scale=1e-2):
        self.reg, self.params = reg, {}
        dims = [input_dim, *hidden_dims, num_classes]
        self.num_layers = len(dims) - 1
        for i in range(self.num_layers):
            self.params[f"W{i + 1}"] = weight_scale * np.random.randn(dims[i], dims[i + 1])
            self.params[f"b{i + 1}"] = np.zeros(dims[i + 1])

    def loss(self, X, y=None):
        """Compute scores, or loss and gradients."""
        out, caches = X, []
        for i in range(1, self.num_layers + 1):
            z = out @ self.params[f"W{i}"] + self.params[f"b{i}"]
            caches.append(out)
            out = np.tanh(z) if i < self.num_layers else z
        if y is None:
            return out
        shifted = out - out.max(axis=1, keepdims=True)
        probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        N = X.shape[0]
        loss = -np.log(probs[np.arange(N), y]).mean()
        dout = probs.copy()
        dout[np.arange(N), y] -= 1
        dout /= N
        grads = {}
        for i in range(self.num_layers, 0, -1):
            grads[f"W{i}"] = caches[i - 1].T @ dout + self.reg * self.params[f"W{i}"]
            grads[f"b{i}"] = dout.sum(axis=0)
            dout = (dout @ self.params[f"W{i}"].T) * (1 - caches[i - 1] ** 2)
        return loss, grads
'''

# deeplearning.ai on Coursera: functions, samples as columns, biases (O, 1), a dict of parameters, lists of caches.
COLUMNS = """\
import numpy as np


def initialize_parameters_deep(layer_dims):
    parameters = {}
    for l in range(1, len(layer_dims)):
        parameters["W" + str(l)] = np.random.randn(layer_dims[l], layer_dims[l - 1]) * 0.01
        parameters["b" + str(l)] = np.zeros((layer_dims[l], 1))
    return parameters


def linear_activation_forward(A_prev, W, b, activation):
    Z = np.dot(W, A_prev) + b
    if activation == "tanh":
        A = np.tanh(Z)
    else:
        A = np.exp(Z) / np.exp(Z).sum(axis=0, keepdims=True)
    assert A.shape == (W.shape[0], A_prev.shape[1])
    return A, (A_prev, W, b, A)


def L_model_forward(X, parameters):
    caches, A, L = [], X, len(parameters) // 2
    for l in range(1, L):
        A, cache = linear_activation_forward(A, parameters["W" + str(l)], parameters["b" + str(l)], "tanh")
        caches.append(cache)
    AL, cache = linear_activation_forward(A, parameters["W" + str(L)], parameters["b" + str(L)], "softmax")
    return AL, [*caches, cache]


def compute_cost(AL, Y):
    m = Y.shape[1]
    return -np.sum(Y * np.log(AL)) / m


def L_model_backward(AL, Y, caches):
    grads, L, m = {}, len(caches), AL.shape[1]
    assert Y.shape == AL.shape
    dZ = AL - Y
    for l in reversed(range(1, L + 1)):
        A_prev, W, b, A = caches[l - 1]
        if l < L:
            dZ = grads["dA" + str(l)] * (1 - A**2)
        grads["dW" + str(l)] = np.dot(dZ, A_prev.T) / m
        grads["db" + str(l)] = np.sum(dZ, axis=1, keepdims=True) / m
        grads["dA" + str(l - 1)] = np.dot(W.T, dZ)
    return grads
"""

# Nielsen's book: a class with lists, one sample at a time as a column, backprop(x, y) -> (nabla_b, nabla_w).
SINGLE_COLUMNS = """\
import numpy as np


class Network(object):
    def __init__(self, sizes):
        self.num_layers, self.sizes = len(sizes), sizes
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) for x, y in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, a):
        for b, w in zip(self.biases[:-1], self.weights[:-1]):
            a = np.tanh(np.dot(w, a) + b)
        return softmax(np.dot(self.weights[-1], a) + self.biases[-1])

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = np.tanh(z)
            activations.append(activation)
        delta = softmax(zs[-1]) - y
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].transpose())
        for l in range(2, self.num_layers):
            delta = np.dot(self.weights[-l + 1].transpose(), delta) * (1 - np.tanh(zs[-l]) ** 2)
            nabla_b[-l] = delta
            nabla_w[-l] = np.dot(delta, activations[-l - 1].transpose())
        return (nabla_b, nabla_w)


def softmax(z):
    return np.exp(z) / np.sum(np.exp(z))
"""

# Layers that keep their gradients, as in many tutorials: model.layers[i].W, .dW; biases are rows.
LAYERS = """\
import numpy as np


class Linear:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out) * 0.1
        self.b = np.zeros((1, n_out))

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad):
        self.dW = self.x.T @ grad
        self.db = grad.sum(axis=0, keepdims=True)
        return grad @ self.W.T


class Tanh:
    def forward(self, x):
        self.out = np.tanh(x)
        return self.out

    def backward(self, grad):
        return grad * (1 - self.out**2)


class MLP:
    def __init__(self, layer_sizes):
        self.layers = []
        for n_in, n_out in zip(layer_sizes, layer_sizes[1:]):
            self.layers += [Linear(n_in, n_out), Tanh()]
        self.layers.pop()

    def forward(self, X):
        for layer in self.layers:
            X = layer.forward(X)
        self.probs = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
        return X

    def backward(self, y):
        grad = self.probs.copy()
        grad[np.arange(len(y)), y] -= 1
        grad /= len(y)
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
"""

# ---- wrong -----------------------------------------------------------------------------------------------------------

DIFFERENCES = (
    PLAIN.split("\n\ndef backward")[0]
    + LOSS
    + """

def backward(parameters, X, y, h=1e-5):
    gradients = []
    for array in parameters:
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + h
            above = loss(parameters, X, y)
            array[index] = kept - h
            below = loss(parameters, X, y)
            array[index] = kept
            gradient[index] = (above - below) / (2 * h)
        gradients.append(gradient)
    return gradients
"""
)
TORCH = """\
import importlib

library = importlib.import_module("to" + "rch")


def loss_and_gradient(parameters, X, y):
    W0, b0, W1, b1, W2, b2 = leaves = [library.tensor(p, requires_grad=True) for p in parameters]
    H1 = library.tanh(library.tanh(library.tensor(X) @ W0.T + b0) @ W1.T + b1)
    loss = library.nn.functional.cross_entropy(H1 @ W2.T + b2, library.tensor(y))
    loss.backward()
    return loss.item(), [leaf.grad.numpy() for leaf in leaves]
"""


def changed(old: str, new: str, text: str = PLAIN) -> str:
    """Return a submission with one place changed."""
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def notebook(*cells: str) -> str:
    """Return a notebook with these cells of code."""
    found = [{"cell_type": "code", "source": cell.splitlines(True), "metadata": {}, "outputs": []} for cell in cells]
    text = {"cell_type": "markdown", "source": ["# Exercise 3"], "metadata": {}}
    return json.dumps({"cells": [text, *found], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def in_backward(line: str) -> str:
    """Return the right submission with a line at the begin of backward."""
    head, tail = PLAIN.split("def backward(parameters, X, y):\n")
    return f"{head}def backward(parameters, X, y):\n    {line}\n{tail}"


HELPED = changed("import numpy as np\n", "from helpers import derivative\nimport numpy as np\n")

SUBMISSIONS: dict[str, str] = {
    # right
    "ada.py": PLAIN,
    "boole.py": PLAIN + LOSS + BOTH,
    "cauchy.py": DICT_OF_PARAMETERS,
    "darwin.py": COLUMNS,
    "euler.py": SINGLE_COLUMNS,
    "fermat.py": LAYERS,
    "gauss.ipynb": notebook("%matplotlib inline\nimport numpy as np", PLAIN, "plot(forward)", "!pip list"),
    "hopper/network.py": HELPED.replace("(1 - H1**2)", "derivative(H1)"),
    "hopper/helpers.py": "def derivative(H):\n    return 1 - H**2\n",
    # mistakes
    "ibn_sina.py": changed(" * (1 - H0**2)", ""),
    "kovalevskaya.py": changed("dA1.sum(axis=0)", "dA1.mean(axis=0)"),
    "lovelace.py": changed("dA1 @ W1 * (1 - H0**2)", "dA1 @ W1 * (1 - np.tanh(H0)**2)"),
    "mirzakhani.py": changed("X @ W0.T + b0", "X @ W0.T"),
    "noether.py": changed("dA1 @ W1 *", "dA1 @ W1.T *"),
    "oresme.py": changed("dA0.T @ X", "X.T @ dA0").replace(" * (1 - H1**2)", ""),
    "pascal.py": PLAIN + LOSS.replace("np.mean(", "np.sum(") + BOTH,
    "jacobi.py": DICT_OF_PARAMETERS.replace("dout /= N", "pass"),
    # not by hand
    "ramanujan.py": DIFFERENCES,
    "shannon.py": TORCH,
    # nothing to grade
    "turing.py": changed("def backward(parameters, X, y):", "def backward(parameters, X, y)"),
    "ulam/notes.txt": "My homework is in the other folder.\n",
    "viete.py": "print('hello')\n",
    # hostile
    "weil.py": in_backward("import os; os._exit(0)"),
    "xenakis.py": in_backward("while True: pass"),
    "yau.py": in_backward("kept = np.ones((10**5, 10**5))"),
    "zermelo.py": in_backward("print('\\x1b[2J\\x07' + 'x' * 1_000_000)"),
    "abel.py": in_backward("raise KeyboardInterrupt"),
    "bernoulli.py": in_backward("endless = []; endless.append(endless); return endless"),
    "cantor.py": in_backward("np.tanh = lambda A: A"),
    "dedekind.py": in_backward("import os, signal; signal.raise_signal(signal.SIGSEGV)"),
    "erdos.py": "import sys\n\nsys.exit(0)\n",
}  # fmt: skip


def write_course(folder: str | Path) -> None:
    """Write the exercise and the submissions to a folder."""
    for name, text in {"exercise.py": EXERCISE, **{f"submissions/{n}": t for n, t in SUBMISSIONS.items()}}.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write_course(sys.argv[1])
