"""Correct programs of students in plain NumPy, in parts: an activation, a loss with its gradient, a network.

They do not use handmade, which has to check them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["ACTIVATIONS", "BODIES", "HEADS", "Setting"]

# A program is an activation, a head (the loss of the last layer's output) and a body (the network).
ACTIVATIONS = {
    "tanh": '''
def f(A):
    return np.tanh(A)

def f_prime(A, H):
    return 1 - H ** 2
''',
    "sigmoid": '''
def f(A):
    return 1 / (1 + np.exp(-A))

def f_prime(A, H):
    return H * (1 - H)
''',
    "relu": '''
def f(A):
    return np.maximum(A, 0)

def f_prime(A, H):
    return A > 0
''',
    "leaky_relu": '''
def f(A):
    return np.where(A > 0, A, 0.01 * A)

def f_prime(A, H):
    return np.where(A > 0, 1.0, 0.01)
''',
    "softplus": '''
def f(A):
    return np.logaddexp(0, A)

def f_prime(A, H):
    return 1 / (1 + np.exp(-A))
''',
}  # fmt: skip

SIGMOID = '''
def sigmoid(A):
    return 1 / (1 + np.exp(-A))
'''  # fmt: skip

HEADS = {
    "cross_entropy": '''
def softmax(A):
    E = np.exp(A - A.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)

def loss_of(A, y):
    Z = A - A.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y])

def loss_backward(A, y):
    P = softmax(A)
    Y = np.eye(A.shape[1])[y]
    return (P - Y) / len(y)
''',
    "label_smoothing": '''
def log_softmax(A):
    Z = A - A.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))

def smoothed(A, y):
    return 0.9 * np.eye(A.shape[1])[y] + 0.1 / A.shape[1]

def loss_of(A, y):
    return -np.sum(smoothed(A, y) * log_softmax(A)) / len(y)

def loss_backward(A, y):
    P = np.exp(log_softmax(A))
    Y = smoothed(A, y)
    return (P - Y) / len(y)
''',
    "sample_weight": '''
def log_softmax(A):
    Z = A - A.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))

def loss_of(A, y):
    return -np.mean(sample_weight * log_softmax(A)[np.arange(len(y)), y])

def loss_backward(A, y):
    P = np.exp(log_softmax(A))
    Y = np.eye(A.shape[1])[y]
    return sample_weight[:, None] * (P - Y) / len(y)
''',
    "mse": '''
def loss_of(A, y):
    return np.mean((A - y) ** 2)

def loss_backward(A, y):
    return 2 * (A - y) / y.size
''',
    "half": '''
def loss_of(A, y):
    return 0.5 * np.sum((A - y) ** 2) / len(y)

def loss_backward(A, y):
    return (A - y) / len(y)
''',
    "l1": '''
def loss_of(A, y):
    return np.mean(np.abs(A - y))

def loss_backward(A, y):
    return np.sign(A - y) / y.size
''',
    "half_of_sigmoid": SIGMOID + '''
def loss_of(A, y):
    return 0.5 * np.sum((sigmoid(A) - y) ** 2) / len(y)

def loss_backward(A, y):
    P = sigmoid(A)
    return (P - y) * P * (1 - P) / len(y)
''',
    "bce": SIGMOID + '''
def loss_of(A, y):
    return np.mean(np.logaddexp(0, A) - y * A)

def loss_backward(A, y):
    P = sigmoid(A)
    return (P - y) / y.size
''',
    "bce_of_sigmoid": SIGMOID + '''
def loss_of(A, y):
    return np.mean(np.logaddexp(0, A) - y * A)

def loss_backward(A, y):
    P = sigmoid(A)
    dP = (-y / P + (1 - y) / (1 - P)) / y.size
    return dP * P * (1 - P)
''',
    "hinge": '''
def loss_of(A, y):
    return np.mean(np.maximum(0, 1 - y * A))

def loss_backward(A, y):
    return -y * (y * A < 1) / y.size
''',
}  # fmt: skip

FORWARD = '''
eta = 0.1
kept = {}

def forward(parameters, X):
    As, Hs = [], [X]
    for i in range(0, len(parameters), 2):
        A = Hs[-1] @ parameters[i].T + parameters[i + 1]
        As.append(A)
        Hs.append(f(A) if i + 2 < len(parameters) else A)
    return As, Hs

def loss(parameters, X, y):
    return loss_of(forward(parameters, X)[1][-1], y)
'''  # fmt: skip

BODIES = {
    "plain": FORWARD + '''
def loss_and_gradient(parameters, X, y):
    As, Hs = forward(parameters, X)
    gradients = [np.zeros_like(p) for p in parameters]
    dA = loss_backward(Hs[-1], y)
    for l in reversed(range(len(As))):
        W = parameters[2 * l]
        gradients[2 * l] += dA.T @ Hs[l]
        gradients[2 * l + 1] += dA.sum(axis=0)
        if l > 0:
            dH = dA @ W
            dA = dH * f_prime(As[l - 1], Hs[l])
    return loss_of(Hs[-1], y), gradients
''',
    "loop": FORWARD + '''
def loss_and_gradient(parameters, X, y):
    gradients = [np.zeros_like(p) for p in parameters]
    total = 0
    for n in range(len(X)):
        As, Hs = forward(parameters, X[n:n + 1])
        total += loss_of(Hs[-1], y[n:n + 1])
        dA = loss_backward(Hs[-1], y[n:n + 1])
        for l in reversed(range(len(As))):
            dW, db = dA.T @ Hs[l], dA.sum(axis=0)
            gradients[2 * l] = gradients[2 * l] + dW
            gradients[2 * l + 1] = gradients[2 * l + 1] + db
            if l > 0:
                dA = (dA @ parameters[2 * l]) * f_prime(As[l - 1], Hs[l])
    return total / len(X), [g / len(X) for g in gradients]
''',
    "L2": FORWARD.replace("def loss(", "lam = 0.3\n\ndef data_loss(") + '''
def loss(parameters, X, y):
    return data_loss(parameters, X, y) + lam / 2 * sum(np.sum(W ** 2) for W in parameters[::2])

def loss_and_gradient(parameters, X, y):
    As, Hs = forward(parameters, X)
    gradients = []
    dA = loss_backward(Hs[-1], y)
    for l in reversed(range(len(As))):
        W, b = parameters[2 * l], parameters[2 * l + 1]
        dW = dA.T @ Hs[l] + lam * W
        db = dA.sum(axis=0)
        gradients = [dW, db] + gradients
        if l > 0:
            dA = (dA @ W) * f_prime(As[l - 1], Hs[l])
    return loss(parameters, X, y), gradients
''',
    "dropout": '''
rng = np.random.default_rng(99)
keep = 0.7

def draw(rng, H):
    return rng.random(H.shape, dtype=np.float32) >= 1 - keep

def forward(parameters, X):
    As, Hs, Ds, masks = [], [], [X], []
    for i in range(0, len(parameters) - 2, 2):
        As.append(Ds[-1] @ parameters[i].T + parameters[i + 1])
        Hs.append(f(As[-1]))
        masks.append(draw(np.random.default_rng(i), Hs[-1]))
        Ds.append(Hs[-1] * masks[-1] / keep)
    As.append(Ds[-1] @ parameters[-2].T + parameters[-1])
    return As, Hs, Ds, masks

def loss(parameters, X, y):
    return loss_of(forward(parameters, X)[0][-1], y)

def loss_and_gradient(parameters, X, y):
    As, Hs, Ds, masks = forward(parameters, X)
    gradients = []
    dA = loss_backward(As[-1], y)
    for l in reversed(range(len(As))):
        gradients = [dA.T @ Ds[l], dA.sum(axis=0)] + gradients
        if l > 0:
            dD = dA @ parameters[2 * l]
            mask = masks[l - 1]
            dH = dD * mask / keep
            dA = dH * f_prime(As[l - 1], Hs[l - 1])
    return loss_of(As[-1], y), gradients
''',
    "residual": '''
def forward(parameters, X):
    W0, b0, W1, b1, W2, b2 = parameters
    A0 = X @ W0.T + b0
    A1 = A0 @ W1.T + b1
    H1 = A0 + f(A1)
    return A0, A1, H1, H1 @ W2.T + b2

def loss(parameters, X, y):
    return loss_of(forward(parameters, X)[-1], y)

def loss_and_gradient(parameters, X, y):
    W0, b0, W1, b1, W2, b2 = parameters
    A0, A1, H1, A2 = forward(parameters, X)
    dA2 = loss_backward(A2, y)
    dH1 = dA2 @ W2
    dA1 = dH1 * f_prime(A1, f(A1))
    dA0 = dH1 + dA1 @ W1
    gradients = [dA0.T @ X, dA0.sum(axis=0), dA1.T @ A0, dA1.sum(axis=0), dA2.T @ H1, dA2.sum(axis=0)]
    return loss_of(A2, y), gradients
''',
    "batchnorm": '''
def forward(parameters, X):
    W0, b0, gamma, beta, W1, b1 = parameters
    A = X @ W0.T + b0
    inverse = 1 / np.sqrt(A.var(axis=0) + 1e-5)
    Z = (A - A.mean(axis=0)) * inverse
    B = gamma * Z + beta
    H = f(B)
    return inverse, Z, B, H, H @ W1.T + b1

def loss(parameters, X, y):
    return loss_of(forward(parameters, X)[-1], y)

def loss_and_gradient(parameters, X, y):
    W0, b0, gamma, beta, W1, b1 = parameters
    inverse, Z, B, H, A1 = forward(parameters, X)
    dA1 = loss_backward(A1, y)
    dB = (dA1 @ W1) * f_prime(B, H)
    dgamma = (dB * Z).sum(axis=0)
    dZ = dB * gamma
    dA = inverse * (dZ - dZ.mean(axis=0) - Z * (dZ * Z).mean(axis=0))
    gradients = [dA.T @ X, dA.sum(axis=0), dgamma, dB.sum(axis=0), dA1.T @ H, dA1.sum(axis=0)]
    return loss_of(A1, y), gradients
''',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Setting:
    """A choice of a program's parts, and of the sizes and the dtype of its data.

    Attributes
    ----------
    body, activation, head : str
        The parts of the program.
    sizes : tuple of int
        Units from the input to the output.
    N : int
        Number of samples.
    scale : float
        The factor of the inputs, which are normal numbers.
    dtype : dtype
        Of parameters and inputs.
    """

    body: str = "plain"
    activation: str = "tanh"
    head: str = "cross_entropy"
    sizes: tuple[int, ...] = (3, 5, 4)
    N: int = 6
    scale: float = 1.0
    dtype: type = np.float64

    @property
    def text(self) -> str:
        """The text of the correct program.

        Examples
        --------
        >>> compiled = compile(Setting().text, "student", "exec")
        """
        return ACTIVATIONS[self.activation] + HEADS[self.head] + BODIES[self.body]

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} {self.activation}, {self.head}, {self.body}, N {self.N}"
