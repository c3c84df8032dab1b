"""Networks, losses and training steps in JAX, as pure functions."""

from __future__ import annotations

import handmade as hm

from .cases import Case

__all__ = ["jax_forward", "jax_parameters", "jax_state", "jax_step"]


def jax_parameters(case: Case, jax, network: hm.Network) -> list[tuple]:
    """Return (W, b) of each layer, W of shape (I, O); with gamma and beta if batch normalization follows."""
    blocks, layers = iter(network.blocks(network.theta.copy()).values()), []
    for layer in range(len(case.sizes) - 1):
        hidden = layer < len(case.sizes) - 2
        W, *others = (next(blocks) for _ in range(4 if hidden and case.normalization else 2))
        layers.append(tuple(jax.numpy.array(array) for array in (W.T, *others)))
    return layers


def jax_forward(activation: str, jax):
    """Return the network as a function of (parameters, X), see `jax_parameters`."""
    function = getattr(jax.nn, activation)

    def forward(parameters, X):
        *hidden, (W, b) = parameters
        for V, c in hidden:
            X = function(X @ V + c)
        return X @ W + b

    return forward


def _training(case: Case, jax):
    """Return the forward pass in training mode, a function that returns outputs and new running averages."""
    jnp, function = jax.numpy, getattr(jax.nn, case.activation)

    def forward(parameters, X, key, averages):
        moments = []
        *hidden, (W, b) = parameters
        for i, (V, c, *scale) in enumerate(hidden):
            X = X @ V + c
            if scale:
                mean, variance = X.mean(axis=0), X.var(axis=0)
                moments.append((mean, variance * (len(X) / (len(X) - 1))))
                X = scale[0] * (X - mean) / jnp.sqrt(variance + 1e-5) + scale[1]
            X = function(X)
            if case.dropout:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - case.dropout, X.shape)
                X = jnp.where(kept, X / (1 - case.dropout), 0)
        averages = jax.tree_util.tree_map(lambda old, new: 0.9 * old + 0.1 * new, averages, moments)
        return X @ W + b, averages

    return forward


def jax_step(case: Case, jax, forward):
    """Return a training step to compile as a whole: it returns new parameters, a new state and the loss."""
    if case.dropout or case.normalization:
        return _training_step(case, jax)
    objective, update = _objective(case, jax), {"SGD": _sgd, "Adam": _adam}[case.optimizer](case, jax)
    value_and_grad = jax.value_and_grad(lambda parameters, X, y: objective(forward(parameters, X), y))

    def step(parameters, state, X, y):
        loss, gradient = value_and_grad(parameters, X, y)
        return *update(parameters, state, gradient), loss

    return step


def _objective(case: Case, jax):
    def cross_entropy(Z, y):
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(Z), y[:, None], axis=1).mean()

    def mse_loss(Z, y):
        return ((Z - y) ** 2).mean()

    return {"cross_entropy": cross_entropy, "mse_loss": mse_loss}[case.loss]


def _sgd(case: Case, jax):
    def update(parameters, state, gradient):
        return jax.tree_util.tree_map(lambda p, g: p - case.lr * g, parameters, gradient), state

    return update


def _adam(case: Case, jax):
    jnp, tree = jax.numpy, jax.tree_util.tree_map

    def update(parameters, state, gradient):
        t, m, v = state
        t = t + 1
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        root, scale = jnp.sqrt(1 - 0.999**t), case.lr / (1 - 0.9**t)

        def move(p, m, v):
            return (p - scale * m / (jnp.sqrt(v) / root + 1e-8)).astype(p.dtype)

        return tree(move, parameters, m, v), (t, m, v)

    return update


def _training_step(case: Case, jax):
    """Return a step of SGD whose state consists of a random key and the running averages."""
    forward = _training(case, jax)

    def loss(parameters, key, averages, X, y):
        Z, averages = forward(parameters, X, key, averages)
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(Z), y[:, None], axis=1).mean(), averages

    def step(parameters, state, X, y):
        key, averages = state
        (value, averages), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, key, averages, X, y)
        parameters = jax.tree_util.tree_map(lambda p, g: p - case.lr * g, parameters, gradient)
        return parameters, (jax.random.fold_in(key, 1), averages), value

    return step


def jax_state(case: Case, jax, parameters):
    """Return the initial state of a step: of the optimizer, or the random key and the running averages."""
    if case.dropout or case.normalization:
        hidden = parameters[:-1] if case.normalization else []
        return jax.random.key(0, impl="rbg"), [(jax.numpy.zeros_like(b), jax.numpy.ones_like(b)) for _, b, *_ in hidden]
    if case.optimizer == "SGD":
        return ()
    m, v = (jax.tree_util.tree_map(jax.numpy.zeros_like, parameters) for _ in range(2))
    return jax.numpy.zeros((), case.dtype), m, v
