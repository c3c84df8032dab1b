"""Summaries of networks, and the tables that a notebook shows."""

from __future__ import annotations

import re
import tracemalloc
from html import unescape

import numpy as np
import pytest

import handmade as hm
from handmade.summary import Summary, summarize


def cells(html):
    """Return the rows of all tables in the text."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]


NETWORKS = {
    "MLP": lambda: hm.MLP([20, 30, 5], activation="gelu", rng=0),
    "float32": lambda: hm.MLP([20, 30, 5], rng=0, dtype="float32"),
    "dropout and batch norm": lambda: hm.MLP([20, 30, 5], normalization="batch", dropout=0.5, rng=0),
    "layer norm": lambda: hm.MLP([20, 30, 5], normalization="layer", rng=0),
    "skips and branches": lambda: hm.Network(
        [hm.Residual([hm.Dense(4, 4, rng=0)]), hm.Concatenate([hm.Dense(4, 2, rng=0)]), hm.Activation("tanh")]
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_activation_bytes_are_what_a_forward_pass_keeps(name):
    network = NETWORKS[name]()
    N = 5000
    X = np.ones((N, network.in_features), network.dtype)
    tracemalloc.start()
    try:
        kept = network.forward(X, training=True)
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept is not None
    # Besides the arrays' numbers: some objects of Python, and X, which the pass keeps but did not allocate.
    assert summarize(network, N).memory["activations"] == pytest.approx(allocated + X.nbytes, abs=20_000)


def test_activation_bytes_are_linear_in_the_batch():
    network = NETWORKS["dropout and batch norm"]()
    one, two, three = (network.summary(batch_size=N).memory["activations"] for N in (1, 2, 3))
    assert three - two == two - one > 0


@pytest.mark.parametrize(
    ("optimizer", "vectors"),
    [
        (hm.SGD(), 0),
        (hm.SGD(momentum=0.9), 1),
        (hm.Adam(), 2),
        (hm.Adam(amsgrad=True), 3),
        (hm.RMSprop(), 1),
        (hm.RMSprop(momentum=0.9, centered=True), 3),
        (hm.Chain(hm.ClipGradNorm(1.0), hm.Adam()), 2),
    ],
    ids=repr,
)
def test_optimizer_bytes_are_vectors_of_theta(optimizer, vectors):
    network = NETWORKS["MLP"]()
    memory = network.summary(optimizer=optimizer).memory
    size = network.theta.nbytes
    assert memory == {"parameters": size, "gradient": size, "optimizer": vectors * size}


def test_multiply_adds_are_those_of_the_matrix_products():
    summary = hm.MLP([7, 5, 3, 2], rng=0).summary(batch_size=10)
    # Forward W x; backward dA xT for each layer, and WT dA for each but the first.
    forward, last_two = 7 * 5 + 5 * 3 + 3 * 2, 5 * 3 + 3 * 2
    assert summary.multiply_adds == {"forward": forward, "forward and backward": 2 * forward + last_two}
    assert [layer.multiply_adds for layer in summary.layers] == [35, 0, 15, 0, 6]
    assert "multiply-adds of a batch of 10: 560 forward, 1,330 forward and backward" in summary


def test_summary_changes_nothing():
    network, optimizer = NETWORKS["dropout and batch norm"](), hm.Adam()
    twin = NETWORKS["dropout and batch norm"]()
    network.summary(batch_size=8, optimizer=optimizer)
    assert optimizer.t == 0
    state, expected = network.state_dict(), twin.state_dict()
    assert all((state[name] == expected[name]).all() for name in expected)
    X = np.random.default_rng(0).normal(size=(6, 20))
    masked, expected = (n.forward(X, training=True)[0] for n in (network, twin))
    assert (masked == expected).all()  # the masks come from the same random numbers


def test_summary_without_options_has_three_columns():
    summary = hm.MLP([3, 4, 2], activation="sigmoid").summary()
    assert isinstance(summary, Summary) and isinstance(summary, str)
    assert repr(summary) == str(summary) == "\n".join(
        [
            "layer                   output  parameters",
            "Dense(3, 4)                  4          16",
            "Activation('sigmoid')        4           0",
            "Dense(4, 2)                  2          10",
            "6 neurons, 20 weights, 26 parameters, float64",
        ]
    )  # fmt: skip


def test_network_is_shown_as_its_summary():
    network = hm.MLP([3, 4, 2], activation="sigmoid")
    assert cells(network._repr_html_()) == [
        ["layer", "output", "parameters"],
        ["Dense(3, 4)", "4", "16"],
        ["Activation('sigmoid')", "4", "0"],
        ["Dense(4, 2)", "2", "10"],
    ]
    assert "26 parameters" in network._repr_html_()
    assert len(cells(network.summary(batch_size=2)._repr_html_())[0]) == 4


@pytest.mark.parametrize(
    ("network", "options", "error", "words"),
    [
        (hm.MLP([2, 1]), {"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
        (hm.MLP([2, 1]), {"batch_size": 2.5}, TypeError, "batch_size: .* got 2.5"),
        (hm.Network([hm.Activation("relu")]), {"batch_size": 2}, ValueError, "summary: .* how wide the input is"),
        (hm.MLP([2, 1]), {"optimizer": 3}, TypeError, r"optimizer: expected an object with step\(theta, gradient\)"),
    ],
)
def test_bad_arguments_are_named(network, options, error, words):
    with pytest.raises(error, match=words):
        network.summary(**options)


# ---- histories and traces ------------------------------------------------------------------------------------------


def test_history_is_shown_as_a_table_of_epochs_from_1():
    history = hm.History(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"<b>": [0.75, 0.5]}, lr=[0.1, 0.1])
    html = history._repr_html_()
    assert cells(html) == [
        ["epoch", "loss", "validation", "<b>", "lr"],
        ["1", "0.5", "0.5", "0.75", "0.1"],
        ["2", "0.25", "0.75", "0.5", "0.1"],
    ]
    assert "&lt;b&gt; 0.5" in html.splitlines()[1]  # the caption


def test_long_history_is_shown_by_some_epochs_and_the_best():
    losses = [abs(n - 333) + 1.0 for n in range(1, 1001)]
    rows = cells(hm.History(loss=losses, validation_loss=losses)._repr_html_())
    epochs = [int(row[0]) for row in rows[1:]]
    assert len(epochs) <= 13 and epochs == sorted(epochs)
    assert {1, 333, 1000} <= set(epochs)


def test_history_without_epochs_is_shown():
    assert cells(hm.History()._repr_html_()) == [["epoch"]]


def test_trace_is_shown_as_quantities_and_products():
    chain = hm.MLP([1, 1, 1], activation=["sigmoid", "sigmoid"], bias=False)
    chain.theta[:] = [2.0, -1.0]
    trace = hm.trace(chain, 0.5, 1.0)
    rows = cells(trace._repr_html_())
    assert ["a1", "w1 x", "1"] in rows
    derivative = f"{trace['dL/dw1'].item():.7g}"
    assert ["dL/dw1", "[dL/df2 * df2/da2] * da2/df1 * df1/da1 * da1/dw1", derivative] in rows


def test_trace_of_a_network_shows_arrays():
    html = hm.trace(hm.MLP([2, 3, 1], rng=0), [1.0, 2.0], 1.0)._repr_html_()
    assert ["x", "", "[[1., 2.]]"] in cells(html)


def test_gradient_check_is_shown_as_a_table_of_parameters():
    X, y = np.eye(3), [0, 1, 1]
    check = hm.check_gradient(hm.MLP([3, 2], rng=0), X, y)
    html = check._repr_html_()
    assert [row[:2] + row[4:] for row in cells(html)] == [
        ["parameter", "checked", "verdict"],
        ["0.weight", "6/6", "pass"],
        ["0.bias", "2/2", "pass"],
    ]
    assert str(check).splitlines()[-1] in html


def test_state_that_grows_is_counted_when_full():
    X, y = hm.data.moons(50, noise=0.2, rng=0)
    network, optimizer = hm.MLP([2, 8, 2], "tanh", rng=0), hm.LBFGS(history_size=3, line_search_fn="strong_wolfe")
    counted = network.summary(8, optimizer).memory["optimizer"]
    hm.fit(network, X, y, optimizer=optimizer, epochs=2, batch_size=None, progress=False)
    arrays = [optimizer.d, optimizer.prev_flat_grad, *optimizer.old_dirs, *optimizer.old_stps]
    assert counted == sum(array.nbytes for array in arrays) == 8 * network.theta.nbytes


@pytest.mark.parametrize("optimizer", [hm.Muon(), type("Own", (hm.LBFGS,), {"most_vectors": property()})()])
def test_optimizer_that_cannot_be_counted_is_named(optimizer):
    summary = hm.MLP([3, 4, 2]).summary(8, optimizer)
    assert "optimizer" not in summary.memory and "activations" in summary.memory
    assert any(line.startswith("optimizer: not counted. ") for line in summary.totals)
