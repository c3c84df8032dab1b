"""Mistakes that a checker of types finds, each in the line that says so, above the same line without the mistake."""

from __future__ import annotations

import numpy as np

import handmade as hm


class NoStep:
    lr = 0.1


def takes_one(network: hm.Network) -> None: ...


def takes_both(network: hm.Network, history: hm.History) -> None: ...


def takes_a_loss(network: hm.Network, loss: float) -> None: ...


X, y = hm.data.xor()
network = hm.MLP([2, 3, 2])
optimizer = hm.SGD(lr=0.1)
schedule = hm.StepLR(optimizer, 10)
gradient = network.loss_and_gradient(X, y)[1]

hm.fit(network, X, y, epochs="ten")  # wrong
hm.fit(network, X, y, epochs=10)
hm.MLP([2, 3, 2], normalization="btach")  # wrong
hm.MLP([2, 3, 2], normalization="batch")
hm.MLP([2, 3, 2], activation="reluu")  # wrong
hm.MLP([2, 3, 2], activation="relu")
hm.MLP([2, 3, 2], weight_init="xavier_unifrom")  # wrong
hm.MLP([2, 3, 2], weight_init="xavier_uniform")
hm.MLP([2, 3, 2], dtype="float16")  # wrong
hm.MLP([2, 3, 2], dtype="float32")
hm.check_gradient(network, X, y, method="centrall")  # wrong
hm.check_gradient(network, X, y, method="central")
network.loss_and_gradient(X, y, loss="cross_entrpy")  # wrong
network.loss_and_gradient(X, y, loss="cross_entropy")
hm.losses.mse_loss(X, X, reduction="avg")  # wrong
hm.losses.mse_loss(X, X, reduction="mean")
print(hm.nothing_there)  # wrong
print(hm.metrics)
print(network.thetta)  # wrong
print(network.theta)
hm.fit(network, X, y, optimizer=NoStep())  # wrong
hm.fit(network, X, y, optimizer=optimizer)
hm.fit(network, X, y, callbacks=[takes_one])  # wrong
hm.fit(network, X, y, callbacks=[takes_both])
hm.fit(network, X, y, schedule="StepLR")  # wrong
hm.fit(network, X, y, schedule=hm.StepLR(optimizer, 10))
hm.StepLr(optimizer, 10)  # wrong
hm.StepLR(optimizer, 10)
hm.fit(network, X, y, schedule_every="bacth")  # wrong
hm.fit(network, X, y, schedule_every="batch")
hm.fit(network, X, y, metrics=["acuracy"])  # wrong
hm.fit(network, X, y, metrics=["accuracy"])
hm.Adam(lr=0.1, beta=(0.9, 0.99))  # wrong
hm.Adam(lr=0.1, betas=(0.9, 0.99))
hm.Dense(2, out_features=np.ones(3))  # wrong
hm.Dense(2, out_features=3)
hm.fit(network, X, y, callbacks=[takes_a_loss])  # wrong
hm.fit(network, X, y, callbacks=[takes_both])
hm.fit(network, X, y, optimizer=schedule)  # wrong
hm.fit(network, X, y, optimizer=optimizer, schedule=schedule)
hm.fit(network, X, y, schedule=optimizer)  # wrong
hm.fit(network, X, y, schedule=hm.ReduceLROnPlateau(optimizer))
hm.estimators.MLPClassifier(hidden_layers=(10,))  # wrong
hm.estimators.MLPClassifier(hidden_layer_sizes=(10,))
hm.estimators.MLPRegressor(learning_rate="adaptiv")  # wrong
hm.estimators.MLPRegressor(learning_rate="adaptive")
print(hm.fit(network, X, y, validation=0.25).val_loss)  # wrong
print(hm.fit(network, X, y, validation=0.25).validation_loss)
hm.EarlyStopping(patience="five")  # wrong
hm.EarlyStopping(patience=5)
hm.Chain(hm.ClipGradNorm(1.0), "adam")  # wrong
hm.Chain(hm.ClipGradNorm(1.0), hm.Adam())
optimizer.step(gradient)  # wrong
optimizer.step(network.theta, gradient)
hm.save(network.theta, "network.npz")  # wrong
hm.save(network, "network.npz")
