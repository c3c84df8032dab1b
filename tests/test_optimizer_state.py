"""State of optimizers: saved, loaded, copied and resumed to the bit."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from optimizers_of_tests import MAKERS, SIZE, assert_same_state, descend, gradient_at, make_id, memory_of, start

import handmade as hm
from handmade._steps import BLOCK
from handmade.clipping import L1
from handmade.optimizers import SGD, Adam, Chain, NAdam


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copy_of_optimizer_and_vectors_goes_on(duplicate):
    optimizer, theta = Adam(), start(BLOCK + 1)
    gradient = gradient_at(0, theta)
    optimizer.step(theta, gradient)
    other, other_theta, other_gradient = duplicate((optimizer, theta, gradient))
    for _ in range(2):
        optimizer.step(theta, gradient)
        other.step(other_theta, other_gradient)
    np.testing.assert_array_equal(theta, other_theta)
    np.testing.assert_array_equal(optimizer.exp_avg, other.exp_avg)


# --- Saving


@pytest.mark.parametrize("maker", MAKERS, ids=make_id)
def test_training_resumes_to_the_bit(maker):
    optimizer, theta = maker(), start(SIZE)
    descend(optimizer, theta, steps=5)
    state, resumed_theta = optimizer.state_dict(), theta.copy()
    descend(optimizer, theta, steps=5, begin=5)

    resumed = maker()
    descend(resumed, start(SIZE), steps=1)
    resumed.lr = 123.0
    resumed.load_state_dict(state)
    descend(resumed, resumed_theta, steps=5, begin=5)
    np.testing.assert_array_equal(resumed_theta, theta)
    assert_same_state(resumed.state_dict(), optimizer.state_dict())


def test_a_state_dict_is_a_copy_in_both_directions():
    optimizer, theta = Adam(), start(SIZE)
    descend(optimizer, theta, steps=1)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    other = Adam()
    other.load_state_dict(state)
    descend(optimizer, theta, steps=1)
    descend(other, theta, steps=1)
    assert_same_state(state, before)


def adam_state(**changes):
    optimizer = Adam()
    descend(optimizer, start(SIZE), steps=1)
    return optimizer.state_dict() | changes


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ([1.0], TypeError, "expected a dict, got list"),
        (SGD().state_dict(), ValueError, "expected class 'Adam', got 'SGD'"),
        (adam_state(color=1), ValueError, "expected the keys .*exp_avg_sq.* got .*color"),
        ({"class": "Adam", "lr": 0.1}, ValueError, "expected the keys"),
        (adam_state(members=[{}]), ValueError, "expected a list of 0 members, got 1"),
        (adam_state(lr=-1.0), ValueError, "lr: expected a finite number >= 0, got -1.0"),
        (adam_state(t=-1), ValueError, "t: expected an integer of at least 0, got -1"),
        (adam_state(exp_avg=[1.0]), TypeError, "exp_avg: expected a NumPy array, got list"),
        (adam_state(exp_avg=np.zeros(3)), ValueError, "arrays of one shape and dtype"),
        (adam_state(exp_avg=np.zeros((SIZE, 1))), ValueError, r"exp_avg: expected 1 dimension\(s\)"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(state, error, words):
    optimizer = Adam(lr=0.5)
    descend(optimizer, start(SIZE), steps=2)
    before = memory_of(optimizer)
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(state)
    assert_same_state(optimizer.state_dict(), before)


def test_a_chain_loads_all_of_its_members_or_none():
    chain = Chain(L1(0.1), SGD(lr=0.5))
    before = chain.state_dict()
    broken = Chain(L1(0.2), SGD(lr=0.25)).state_dict()
    broken["members"][1]["momentum"] = math.nan
    with pytest.raises(ValueError, match="momentum: expected a finite number >= 0, got nan"):
        chain.load_state_dict(broken)
    assert_same_state(chain.state_dict(), before)


def test_the_vector_belongs_to_the_optimizer_after_loading_too():
    optimizer = Adam()
    optimizer.load_state_dict(adam_state())
    with pytest.raises(ValueError, match=rf"expected shape \({SIZE},\) .* got \(3,\).*make a new optimizer"):
        optimizer.step(np.ones(3), np.ones(3))


def test_arrays_keep_their_place_and_loaded_ones_get_one():
    optimizer, theta, gradient = Adam(), start(SIZE), start(SIZE)
    places = []
    for _ in range(2):
        for _ in range(2):
            optimizer.step(theta, gradient)
            places.append(optimizer.exp_avg)
        optimizer.load_state_dict(optimizer.state_dict())
    assert places[0] is places[1] is not places[2] is places[3]
    assert all(array.base is not None for array in places)  # a part of a larger array, where updates are fast


def test_vectors_that_passed_a_check_are_not_checked_again(monkeypatch):
    seen, check = [], Adam._check_vectors
    monkeypatch.setattr(Adam, "_check_vectors", lambda self, *vectors: (seen.append(vectors), check(self, *vectors)))
    optimizer, theta, gradient = Adam(), start(SIZE), start(SIZE)
    for vectors in [(theta, gradient)] * 3 + [(theta, gradient.copy())] * 2 + [(theta.copy(), gradient)]:
        optimizer.step(*vectors)
    assert [theta.size for theta, _ in seen] == [SIZE] * 3


@pytest.mark.parametrize("maker", MAKERS, ids=make_id)
def test_the_repr_makes_the_same_optimizer_again(maker):
    names = {name: getattr(hm, name) for name in hm.__all__}
    assert_same_state(eval(repr(maker()), names).state_dict(), maker().state_dict())


def test_a_state_dict_through_a_file_is_taken(tmp_path):
    theta, gradient, optimizer = np.ones(3), np.ones(3), Adam(amsgrad=True)
    optimizer.step(theta, gradient)
    np.savez(tmp_path / "adam.npz", **optimizer.state_dict())
    other = Adam()
    with np.load(tmp_path / "adam.npz") as file:
        other.load_state_dict({name: file[name] for name in file.files})
    np.testing.assert_equal(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exp_avg_sq": np.array([1.0, -1.0, 1.0])}, "exp_avg_sq: expected numbers of at least 0, got -1"),
        ({"exp_avg": np.array([1.0, np.nan, 1.0])}, "exp_avg: expected finite numbers, got nan"),
        ({"mu_product": 1.5}, r"mu_product: expected a number in \[0, 1\], got 1.5"),
        ({"t": 10**400}, "t: expected an integer of at most"),
        ({"lr": 10**400}, "lr: expected a finite number >= 0, got an integer beyond 1e308"),
    ],
)
def test_impossible_states_are_refused_by_name(change, message):
    theta, gradient, optimizer = np.ones(3), np.ones(3), NAdam() if "mu_product" in change else Adam()
    optimizer.step(theta, gradient)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(before | change)
    np.testing.assert_equal(optimizer.state_dict(), before)


@pytest.mark.parametrize("maker", MAKERS, ids=make_id)
def test_a_sum_of_squares_below_zero_is_not_loaded(maker):
    """An array that is not negative after steps in both directions is a sum or mean of squares or of sizes."""
    optimizer, theta = maker(), start(60)
    descend(optimizer, theta, 4)
    for owner in (optimizer, *optimizer._members()):
        state = owner.state_dict()
        sizes = [name for name, array in state.items() if isinstance(array, np.ndarray) and array.min() >= 0]
        for name in sizes:
            owner.load_state_dict(state | {name: np.zeros(60)})
            with pytest.raises(ValueError, match=f"^{name}: expected numbers of at least 0, got -1e-300$"):
                owner.load_state_dict(state | {name: np.append(state[name][1:], -1e-300)})


def test_a_state_holds_as_many_steps_as_a_float_counts():
    optimizer = Adam()
    descend(optimizer, start(3), 1)
    state = optimizer.state_dict()
    optimizer.load_state_dict(state | {"t": 2**53})
    with pytest.raises(ValueError, match=r"^t: expected at most 9007199254740992 steps"):
        optimizer.load_state_dict(state | {"t": 2**53 + 1})
