"""Parameter groups and optimizers of matrices: against torch's param_groups, in training, saved and resumed."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

import handmade as hm
from handmade._steps import Blockwise
from handmade.optimizers import is_vector

STEPS = 100
RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(24, 5)), RNG.integers(0, 3, 24)


def build(dtype=np.float64):
    """Return a network with both kinds of vectors and three matrices."""
    return hm.MLP([5, 7, 4, 3], "tanh", normalization="layer", rng=0, dtype=dtype)


def tolerance(dtype=np.float64):
    """Some 50 roundings in each of 100 steps, at worst all in one direction, and not amplified by small rates."""
    return float(STEPS * 50 * np.finfo(dtype).eps)


def train(optimizer, schedule=None, steps=STEPS, chain=False, dtype=np.float64):
    """Return theta after some steps of a network of its own, with the loop that a user writes."""
    network = build(dtype)
    optimizer.bind(network)
    for t in range(steps):
        _, gradient = network.loss_and_gradient(X + 0.1 * np.sin(t), Y)
        optimizer.step(network.theta, gradient)
        if schedule is not None:
            schedule.step()
    return network.theta


def train_torch(groups, make_schedule=None, steps=STEPS, clip=None, dtype=np.float64):
    """Do the same in PyTorch; ``groups`` maps a predicate of name and parameter to class and options."""
    module = torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Tanh(),
        torch.nn.Linear(7, 4), torch.nn.LayerNorm(4), torch.nn.Tanh(), torch.nn.Linear(4, 3),
    ).to(torch.float64 if dtype == np.float64 else torch.float32)  # fmt: skip
    module.load_state_dict({name: torch.tensor(array) for name, array in build(dtype).state_dict().items()})
    left, found = dict(module.named_parameters()), []
    for select, kind, options in groups:
        mine = [name for name, parameter in left.items() if select(name, parameter.shape)]
        found.append((kind, [left.pop(name) for name in mine], options))
    kinds = {kind for kind, _, _ in found}
    optimizers = [
        kind([{"params": parameters, **options} for k, parameters, options in found if k is kind]) for kind in kinds
    ]
    schedules = [make_schedule(optimizer) for optimizer in optimizers] if make_schedule else []
    for t in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        inputs = torch.tensor((X + 0.1 * np.sin(t)).astype(dtype))
        torch.nn.functional.cross_entropy(module(inputs), torch.tensor(Y)).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        for part in (*optimizers, *schedules):
            part.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()


def assert_near(theta, other, dtype=np.float64):
    assert np.linalg.norm(theta - other) <= tolerance(dtype) * np.linalg.norm(other)


NO_DECAY = {is_vector: hm.AdamW(weight_decay=0.0, lr=0.02), "0.*": hm.AdamW(lr=1e-3), "*": hm.AdamW(lr=0.02)}


def no_decay():
    return hm.ParameterGroups(copy.deepcopy(NO_DECAY))


TORCH_NO_DECAY = [
    (lambda name, shape: len(shape) < 2, torch.optim.AdamW, dict(weight_decay=0.0, lr=0.02)),
    (lambda name, shape: name.startswith("0."), torch.optim.AdamW, dict(lr=1e-3)),
    (lambda name, shape: True, torch.optim.AdamW, dict(lr=0.02)),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_groups_give_the_numbers_of_param_groups(dtype):
    assert_near(train(no_decay(), dtype=dtype), train_torch(TORCH_NO_DECAY, dtype=dtype), dtype)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda o: hm.StepLR(o, 7, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5)),
        (lambda o: hm.ExponentialLR(o, 0.97), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.97)),
        (lambda o: hm.CosineAnnealingLR(o, 150), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 150)),
        (lambda o: hm.LinearLR(o, 0.1), lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1)),
        (
            lambda o: hm.LambdaLR(o, lambda t: min(1.0, t / 10)),  # begins at 0, where the ratios must not be lost
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1.0, t / 10)),
        ),
    ],
)
def test_a_schedule_multiplies_the_rate_of_every_group(ours, theirs):
    optimizer = no_decay()
    assert_near(train(optimizer, ours(optimizer)), train_torch(TORCH_NO_DECAY, theirs))
    assert optimizer.optimizers[1].lr == pytest.approx(optimizer.lr / 20, rel=1e-12)


def test_one_cycle_moves_the_momentum_of_every_group():
    groups = {"*.weight": hm.Adam(betas=(0.9, 0.99)), "*": hm.SGD(momentum=0.5, lr=1e-4)}
    optimizer = hm.Chain(hm.ClipGradNorm(1.0), hm.ParameterGroups(groups))
    hm.OneCycleLR(optimizer, max_lr=0.1, total_steps=20)
    assert [part.lr for part in groups.values()] == pytest.approx([0.004, 0.0004])
    assert groups["*.weight"].betas == (0.95, 0.99) and groups["*"].momentum == 0.95


def test_clipping_goes_before_all_groups_together():
    chain = hm.Chain(hm.ClipGradNorm(0.05), no_decay())
    assert_near(train(chain), train_torch(TORCH_NO_DECAY, clip=0.05))


@pytest.mark.parametrize("kinds", [("SGD", "Adam"), ("RMSprop", "NAdam"), ("Adadelta", "Adagrad")])
def test_groups_of_two_kinds_are_two_optimizers_of_torch(kinds):
    first, second = kinds
    groups = {"3.*": getattr(hm, first)(lr=0.001), "*": getattr(hm, second)(lr=0.0005)}
    torch_groups = [
        (lambda name, shape: name.startswith("3."), getattr(torch.optim, first), dict(lr=0.001)),
        (lambda name, shape: True, getattr(torch.optim, second), dict(lr=0.0005)),
    ]
    torch.set_default_dtype(torch.float64)  # for NAdam, see tests/test_optimizers.py
    try:
        assert_near(train(hm.ParameterGroups(groups)), train_torch(torch_groups))
    finally:
        torch.set_default_dtype(torch.float32)


def test_one_group_of_all_is_the_optimizer_itself():
    np.testing.assert_array_equal(train(hm.ParameterGroups({"*": hm.Adam()})), train(hm.Adam()))


@pytest.mark.parametrize(("rates", "shares"), [((0.0, 0.1, 0.2), (0, 0.5, 1)), ((0.0, 0.0, 0.0), (1, 1, 1))])
def test_one_factor_moves_all_rates_through_zero_and_back(rates, shares):
    optimizer = hm.ParameterGroups({f"{i}.*": hm.SGD(lr=rate) for i, rate in enumerate(rates)})
    for lr in (0.4, 0.0, 0.2):
        optimizer.lr = lr
        assert [part.lr for part in optimizer.optimizers] == [lr * share for share in shares]


def test_a_function_selects_by_name_or_shape():
    optimizer = hm.ParameterGroups({lambda name, shape: name == "0.bias": hm.SGD(), "*": hm.SGD()})
    optimizer.bind(build())
    assert optimizer.names[0] == ["0.bias"]


def test_a_rate_of_zero_freezes_a_layer():
    network = build()
    before = network.state_dict()
    groups = hm.ParameterGroups({"0.*": hm.SGD(lr=0.0), "*": hm.SGD(lr=0.1)})
    hm.fit(network, X, Y, optimizer=groups, epochs=2, progress=False)
    after = network.state_dict()
    changed = [name for name in before if (before[name] != after[name]).any()]
    assert changed == [name for name in before if not name.startswith("0.")]


# ---- matrices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adafactor_gives_torchs_numbers(seed, dtype):
    rng = np.random.default_rng(seed)
    options = {} if seed == 0 else dict(
        lr=float(10 ** rng.uniform(-3, -1)), beta2_decay=-float(rng.uniform(0.5, 1)), d=float(rng.uniform(0.3, 2)),
        eps=(None if seed == 1 else 1e-6, float(10 ** rng.uniform(-4, -2))), weight_decay=float(rng.uniform(0, 0.1)),
        maximize=seed == 3,
    )  # fmt: skip
    everything = [(lambda name, shape: True, torch.optim.Adafactor, options)]
    assert_near(train(hm.Adafactor(**options), dtype=dtype), train_torch(everything, dtype=dtype), dtype)


def test_adafactor_bounds_its_rate_as_torch_does():
    """lr is 2, above 1 / sqrt(t)."""
    everything = [(lambda name, shape: True, torch.optim.Adafactor, {"lr": 2.0})]
    assert_near(train(hm.Adafactor(lr=2.0), steps=3), train_torch(everything, steps=3))


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(lr=0.02, nesterov=False, momentum=0.8),
        dict(lr=0.01, adjust_lr_fn="match_rms_adamw", weight_decay=0.0),
        dict(lr=0.005, ns_steps=3, ns_coefficients=(2.0, -1.5, 0.5), eps=1e-3, adjust_lr_fn="original"),
    ],
)
def test_muon_gives_torchs_numbers_without_bfloat16(options, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    groups = {is_vector: hm.AdamW(), "*": hm.Muon(**options)}
    torch_groups = [
        (lambda name, shape: len(shape) < 2, torch.optim.AdamW, {}),
        (lambda name, shape: True, torch.optim.Muon, options),
    ]
    assert_near(train(hm.ParameterGroups(groups)), train_torch(torch_groups))


def test_muon_follows_torchs_path_up_to_bfloat16():
    groups = {is_vector: hm.AdamW(), "*": hm.Muon(lr=0.01)}
    torch_groups = [
        (lambda name, shape: len(shape) < 2, torch.optim.AdamW, {}),
        (lambda name, shape: True, torch.optim.Muon, dict(lr=0.01)),
    ]
    own, other = train(hm.ParameterGroups(groups), steps=5), train_torch(torch_groups, steps=5)
    # bfloat16 keeps 8 bits: after 5 iterations some per cent of every step are its rounding.
    assert 1e-3 < np.linalg.norm(own - other) < 0.2 * np.linalg.norm(other - build().theta)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_newton_schulz_makes_all_singular_values_about_one(shape):
    G = np.random.default_rng(0).normal(size=shape)
    singular = np.linalg.svd(hm.optimizers.matrices.orthogonalized(G, (3.4445, -4.775, 2.0315), 5, 1e-7))[1]
    assert singular.min() > 0.6 and singular.max() < 1.3  # Jordan 2024 promises about [0.7, 1.2]


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5)])
def test_newton_schulz_keeps_the_singular_vectors(shape):
    """U^t X V has the new singular values on its diagonal, and nothing beside it."""
    G = np.random.default_rng(0).normal(size=shape)
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    S = U.T @ hm.optimizers.matrices.orthogonalized(G, (3.4445, -4.775, 2.0315), 5, 1e-7) @ Vt.T
    assert np.diag(S).min() > 0.6 and np.diag(S).max() < 1.3
    np.testing.assert_allclose(S, np.diag(np.diag(S)), atol=1e-12)


@pytest.mark.parametrize("ours", [hm.Adafactor, hm.Muon])
def test_matrices_have_torchs_parameters(ours):
    import inspect

    theirs, own = inspect.signature(getattr(torch.optim, ours.__name__)).parameters, inspect.signature(ours).parameters
    assert {name: p.default for name, p in own.items()} == {name: theirs[name].default for name in own}
    assert sorted(own, key=list(theirs).index) == list(own)
    assert set(theirs) - set(own) == {"params"} | ({"foreach"} & set(theirs))
    assert [own[name].kind for name in own] == [theirs[name].kind for name in own]


def test_adafactor_keeps_no_more_than_rows_columns_and_vectors():
    network, optimizer = hm.MLP([3, 4, 2], rng=0), hm.Adafactor()
    names = ("row_var", "col_var", "variance")
    assert [getattr(of, name) for of in (optimizer, hm.Adafactor) for name in names] == [None] * 6
    optimizer.bind(network)
    optimizer.step(network.theta, network.gradient)
    assert [getattr(optimizer, name).size for name in names] == [4 + 2, 3 + 4, 4 + 2]
    assert hm.Muon.momentum_buffer is hm.Muon().momentum_buffer is None


def test_a_step_before_binding_says_how_to_bind():
    network = build()
    for optimizer in (hm.Adafactor(), hm.Muon(), no_decay()):
        before = network.theta.copy()
        with pytest.raises(ValueError, match=r"bind\(network\) before the first step"):
            optimizer.step(network.theta, network.gradient)
        assert (network.theta == before).all()
    with pytest.raises(ValueError, match=r"^theta: expected the parameters of a network that is bound, got"):
        hm.Muon().step(network.theta, network.gradient)
    optimizer = hm.Adafactor()
    optimizer.bind(network)
    with pytest.raises(ValueError, match=r"^theta: expected the parameters of shapes \[\(.*\)\], got 3 numbers"):
        optimizer.step(np.ones(3), np.ones(3))


def test_muon_refuses_vectors_by_name():
    with pytest.raises(ValueError, match=r"Muon: expected matrices, got '0.bias' of shape \(7,\)"):
        hm.fit(build(), X, Y, optimizer=hm.Muon(), progress=False)


def test_groups_are_objects_that_know_no_names_before_binding():
    optimizer = hm.Adam()
    one, other = hm.ParameterGroups({"*": optimizer}), hm.ParameterGroups({"*": optimizer})
    assert one != other and len({one, other}) == 2
    assert one.names == []


def test_the_gradient_of_groups_may_be_read_only():
    optimizer, network = no_decay(), build()
    optimizer.bind(network)
    gradient = np.ones_like(network.theta)
    gradient.flags.writeable = False
    before = network.theta.copy()
    optimizer.step(network.theta, gradient)
    assert (network.theta < before).all()


def test_matrices_of_another_vector_are_refused():
    optimizer, network = hm.Adafactor(), build()
    optimizer.bind(network)
    optimizer.step(network.theta, network.gradient)
    with pytest.raises(TypeError, match=r"^theta: expected a NumPy array"):
        optimizer.step(network.theta.tolist(), network.gradient)
    with pytest.raises(ValueError, match=r"dtype float64 of the last step.*make a new optimizer"):
        optimizer.step(network.theta.astype(np.float32), network.gradient.astype(np.float32))
    wider = hm.MLP([5, 8, 2], rng=0)
    optimizer.bind(wider)
    with pytest.raises(ValueError, match=r"expected the shapes.*make a new optimizer"):
        optimizer.step(wider.theta, wider.gradient)
    assert optimizer.t == 1


def test_a_step_by_shapes_of_your_own_keeps_its_state():
    @dataclasses.dataclass(eq=False)
    class Total(Blockwise):
        def _state_shapes(self, shape):
            return {"total": shape}

        def _update(self, theta, gradient, total):
            total += gradient
            theta -= total

    optimizer, network = Total(), build()
    assert optimizer.total is None
    optimizer.bind(network)
    theta, gradient = network.theta.copy(), np.ones_like(network.theta)
    for _ in range(2):
        optimizer.step(network.theta, gradient)
    np.testing.assert_allclose(network.theta, theta - 3, rtol=1e-15, atol=1e-15)  # two roundings
    with pytest.raises(ValueError, match=r"^t: expected"):
        optimizer.load_state_dict(optimizer.state_dict() | {"t": -1})


# ---- everywhere that trains ------------------------------------------------------------------------------------------


def matrices():
    return hm.ParameterGroups({is_vector: hm.Adam(lr=0.01), "0.*": hm.Muon(lr=0.02), "*": hm.Adafactor()})


@pytest.mark.parametrize("make", [no_decay, matrices, hm.Adafactor])
def test_everything_that_trains_takes_groups(make):
    network = build()
    hm.fit(network, X, Y, optimizer=make(), epochs=1, progress=False)
    assert hm.find_lr(network, X, Y, optimizer=make(), steps=20, rng=0).suggestion > 0
    assert "optimizer" in str(network.summary(optimizer=make()))


def test_a_compiled_step_takes_groups():
    pytest.importorskip("numba")
    one, other, optimizers = build(), build(), (no_decay(), no_decay())
    step = hm.compile(one, "cross_entropy", optimizers[0])
    optimizers[1].bind(other)
    for _ in range(3):
        step(X, Y)
        optimizers[1].step(other.theta, other.loss_and_gradient(X, Y)[1])
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-10)


def test_an_estimator_takes_groups():
    from handmade.estimators import MLPClassifier

    groups = hm.ParameterGroups({"*.bias": hm.Adam(lr=0.01), "*": hm.Adam(lr=0.02)})
    classifier = MLPClassifier([8], solver=groups, max_iter=60, random_state=0, tol=0.1).fit(X, Y)
    assert classifier.n_iter_ < 60 and groups.optimizers[0].t == 0


def test_a_schedule_of_one_group_is_taken_by_fit():
    optimizer = no_decay()
    schedule = hm.StepLR(optimizer.optimizers[1], 1, 0.5)
    hm.fit(build(), X, Y, optimizer=optimizer, schedule=schedule, epochs=2, progress=False)
    assert [part.lr for part in optimizer.optimizers] == [0.02, 0.00025, 0.02]


def test_the_state_of_groups_is_saved_and_loaded():
    one, other, schedules = matrices(), matrices(), []
    network, clone = build(), build()
    for optimizer in (one, other):
        schedules.append(hm.LambdaLR(optimizer, lambda t: t / 4))  # all rates are 0 at first
    one.bind(network)
    for _ in range(3):
        one.step(network.theta, network.loss_and_gradient(X, Y)[1])
    clone.load_state_dict(network.state_dict())
    schedules[1].load_state_dict(schedules[0].state_dict())
    other.load_state_dict(one.state_dict())
    other.bind(clone)
    for optimizer, net, schedule in zip((one, other), (network, clone), schedules, strict=True):
        for _ in range(3):
            schedule.step()
            optimizer.step(net.theta, net.loss_and_gradient(X, Y)[1])
    np.testing.assert_array_equal(network.theta, clone.theta)
    assert one.lr == 0.75 * 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update(shares=(1.0,)), "shares: expected three numbers, got"),
        (
            lambda state: state["members"][1].update(momentum_buffer=np.array([np.nan])),
            "momentum_buffer: .*finite",
        ),
        *(
            (lambda state, name=name: state["members"][2].update({name: np.array([-1.0])}), f"{name}: .*at least 0")
            for name in ("row_var", "col_var", "variance")
        ),
        (lambda state: state["members"][2].update(eps=(1.0,)), "eps: expected two numbers"),
        (lambda state: state["members"].pop(), "expected a list of 3 members"),
    ],
)
def test_an_impossible_state_of_groups_changes_nothing(change, words):
    optimizer = matrices()
    hm.fit(build(), X, Y, optimizer=optimizer, epochs=1, progress=False)
    before = optimizer.state_dict()
    state = copy.deepcopy(before)
    change(state)
    with pytest.raises((ValueError, TypeError), match=words):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        ({}, TypeError, "groups: expected a dict"),
        ([("*", hm.Adam())], TypeError, "groups: expected a dict"),
        ({3: hm.Adam()}, TypeError, "groups: expected names, patterns or functions as keys, got 3"),
        ({"*": "adam"}, TypeError, "groups: expected a single optimizer such as Adam"),
        ({"*": hm.L1(0.1)}, TypeError, "groups: expected a single optimizer .*L1"),
        ({"*": hm.Chain(hm.L1(0.1), hm.SGD())}, TypeError, "other steps go around"),
        (dict.fromkeys(("0.*", "*"), hm.Adam()), ValueError, "an optimizer of its own for each group"),
    ],
)
def test_wrong_groups_are_refused(groups, error, words):
    with pytest.raises(error, match=words):
        hm.ParameterGroups(groups)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"*.weight": hm.Adam()}, "none for '0.bias'; add"),
        ({"*.bais": hm.Adam(), "*": hm.SGD()}, r"none for '\*.bais' in \['0.weight', '0.bias'"),
        ({"*": hm.Adam(), "0.*": hm.SGD()}, r"none for '0.\*'"),
    ],
)
def test_parameters_without_a_group_are_named_before_training(groups, words):
    network = build()
    before = network.theta.copy()
    with pytest.raises(ValueError, match=words):
        hm.fit(network, X, Y, optimizer=hm.ParameterGroups(groups), progress=False)
    assert (network.theta == before).all()


def test_groups_of_another_network_are_refused():
    optimizer = no_decay()
    optimizer.bind(build())
    with pytest.raises(ValueError, match="network that the groups are bound to, got 4 numbers"):
        optimizer.step(np.ones(4), np.ones(4))
    network = build()
    with pytest.raises(ValueError, match=f"gradient: expected shape .* got .*{network.theta.size + 1}"):
        optimizer.step(network.theta, np.ones(network.theta.size + 1))
    train(optimizer, steps=1)
    optimizer.bind(hm.MLP([5, 9, 3], rng=0))
    with pytest.raises(ValueError, match="as at the last step"):
        optimizer.step(np.ones(84), np.ones(84))
