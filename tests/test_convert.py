"""Networks of PyTorch and scikit-learn compute the same here, and what has no counterpart is named."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import handmade as hm
from handmade import convert
from tests.oracles import assert_close

torch = pytest.importorskip("torch")
nn = torch.nn
prune = pytest.importorskip("torch.nn.utils.prune")


def trained(*modules) -> nn.Sequential:
    """Return a Sequential in evaluation mode, its batch normalizations with statistics of some batches."""
    torch.manual_seed(0)
    module = nn.Sequential(*modules).double()
    module.train()
    for _ in range(3):
        module(torch.randn(20, 3, dtype=torch.float64) + 1)
    return module.eval()


def everything() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(5, 6, bias=False), nn.LayerNorm(6, eps=1e-3), nn.LeakyReLU(0.3))
    return trained(
        nn.Flatten(), nn.Linear(3, 5), nn.BatchNorm1d(5, eps=1e-3, momentum=0.2), nn.Dropout(0.3), inner,
        nn.Identity(), nn.GELU("tanh"), nn.Linear(6, 2), nn.Softmax(dim=-1),
    )  # fmt: skip


def every_normalization() -> list[nn.Module]:
    return [
        nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3, bias=False, momentum=None), nn.AlphaDropout(0.2),
        nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 6),
        nn.LayerNorm(6, bias=False), nn.RMSNorm(6), nn.RMSNorm(6, 0.1, False), nn.GroupNorm(2, 6),
        nn.GroupNorm(3, 6, 0.1, False), nn.GroupNorm(3, 6, bias=False), nn.Linear(6, 2),
    ]  # fmt: skip


def assert_equal_outputs(module, network: hm.Network, tolerance: float = 200) -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    with torch.no_grad():
        expected = module(torch.tensor(X, dtype=next(module.parameters()).dtype)).numpy()
    assert_close(network.predict(X), expected, operations=tolerance)


# ---- modules -------------------------------------------------------------------------------------------------------


def test_modules_nested_compute_the_same():
    module = everything()
    network = hm.from_torch(module)
    assert network.dtype == np.float64
    assert_equal_outputs(module, network)
    state = module.state_dict()
    assert list(network.state_dict()) == list(state)
    assert all((network.state_dict()[name] == tensor.numpy()).all() for name, tensor in state.items())
    dropout, norm = network.layers[3], network.layers[2]
    assert (dropout.p, norm.eps, norm.momentum) == (0.3, 1e-3, 0.2)


def test_module_of_ones_own_says_its_layer():
    class Skip(nn.Sequential):
        def forward(self, input):
            return input + super().forward(input)

        def to_handmade(self, layer_of):
            return hm.Residual([layer_of(child) for child in self])

    module = trained(nn.Linear(3, 4), Skip(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 2))
    assert_equal_outputs(module, hm.from_torch(module))
    Skip.to_handmade = lambda self, layer_of: nn.Tanh()
    with pytest.raises(TypeError, match=r"module 1: expected a layer from Skip\.to_handmade, got Tanh"):
        hm.from_torch(module)


def test_every_option_of_normalizations_is_taken():
    module = trained(*every_normalization())
    network = hm.from_torch(module)
    assert_equal_outputs(module, network)
    assert list(network.state_dict()) == list(module.state_dict())
    assert network.layers[1].momentum is None and type(network.layers[2]) is hm.AlphaDropout


@pytest.mark.parametrize(
    "kind", [k for k, (name, _) in convert.ACTIVATION_MODULES.items() if name in hm.activations.ACTIVATIONS]
)
def test_activations_compute_the_same(kind):
    arguments = {
        "LeakyReLU": (0.3,),
        "ELU": (0.5,),
        "Softplus": (2.0,),
        "Softmax": (1,),
        "LogSoftmax": (1,),
        "Threshold": (0.1, -2),
    }
    module = trained(nn.Linear(3, 4), getattr(nn, kind)(*arguments.get(kind, ())))
    assert_equal_outputs(
        module, hm.from_torch(module), tolerance=1e8 if kind == "Softplus" else 200
    )  # torch's threshold


def test_prelu_and_glu_compute_the_same():
    module = trained(nn.Linear(3, 8), nn.PReLU(8), nn.GLU(), nn.PReLU(), nn.GLU(dim=1))
    network = hm.from_torch(module)
    assert_equal_outputs(module, network)
    assert list(network.state_dict()) == list(module.state_dict())
    with pytest.raises(ValueError, match="module 0, GLU: expected dim=-1, got 0"):
        hm.from_torch(nn.Sequential(nn.GLU(0)))


def test_threshold_of_softplus_is_kept_unless_it_is_the_default():
    assert hm.from_torch(trained(nn.Linear(3, 4), nn.Softplus(2.0))).layers[1].options == {"beta": 2.0}
    module = trained(nn.Linear(3, 4), nn.Softplus(2.0, threshold=0.5))
    assert_equal_outputs(module, hm.from_torch(module))


def test_a_softmax_is_over_the_outputs_unless_it_says_another():
    for kind in nn.Softmax, nn.LogSoftmax:
        for dim, option in (None, -1), (-1, -1), (1, 1), (0, 0):
            assert hm.from_torch(nn.Sequential(nn.Linear(3, 2), kind(dim))).layers[1].options == {"dim": option}


def test_every_activation_with_a_module_is_known():
    known = {name for name, _ in convert.ACTIVATION_MODULES.values()}
    assert known >= hm.activations.ACTIVATIONS.keys() - {"glu", "swiglu"}


def test_round_trip_through_the_twin_is_exact():
    from reference import twin

    network = hm.MLP([3, 4, 2], "tanh", normalization="batch", dropout=0.5, rng=0)
    back = hm.from_torch(twin(network))
    assert repr(back.layers) == repr(network.layers)
    assert (back.theta == network.theta).all()


def test_dtypes_follow_the_module():
    for dtype, expected in [(torch.float32, "float32"), (torch.bfloat16, "float32"), (torch.float16, "float32")]:
        module = nn.Linear(3, 2).to(dtype)
        network = hm.from_torch(module)
        assert network.dtype == expected
        assert (module.weight.detach().float().numpy() == network.layers[0].W).all()


def test_parts_in_two_places_and_empty_parts_compute_the_same():
    activation = nn.Tanh()  # named_children() gives it once
    module = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 4), activation, nn.Sequential(), nn.Linear(4, 2))
    network = hm.from_torch(module)
    assert_equal_outputs(module, network)
    assert list(network.state_dict()) == list(module.state_dict())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, 3).to_sparse(),
        torch.ones(2, 3).to(torch.float8_e4m3fn),
        torch.ones(2, 3, dtype=torch.complex64).conj().imag + 1,
        torch.view_as_complex(-torch.ones(2, 3, 2)).conj().imag,  # a view that is negated when it is read
    ],
    ids=["sparse", "8 bits", "float32", "negated"],
)
def test_tensors_that_numpy_cannot_read_are_converted(tensor):
    assert (hm.from_torch({"0.weight": tensor}).layers[0].W == 1).all()


def test_layers_without_the_weights_of_their_module_are_refused():
    class Forgetful(nn.Sequential):
        def to_handmade(self, layer_of):
            return hm.Activation("tanh")

    with pytest.raises(
        ValueError, match=r"^module: expected layers that hold \['0.weight', '0.bias'\], got \[\]; return "
    ):
        hm.from_torch(Forgetful(nn.Linear(2, 2)))


def test_computed_and_missing_weights_are_refused_with_a_cure():
    computed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"(?s)^module 0: .*; remove what computes .* with .*remove_parametrizations"):
        hm.from_torch(computed)
    for source in (nn.Sequential(nn.LazyLinear(2)), nn.Sequential(nn.LazyLinear(2)).state_dict()):
        with pytest.raises(ValueError, match=r"^source: expected numbers .* under '0.weight', got.*forward"):
            hm.from_torch(source)


def test_weights_are_copied():
    module = nn.Linear(3, 2)
    network = hm.from_torch(module)
    network.theta[:] = 0
    assert bool(module.weight.any())


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Conv1d(1, 1, 1))), r"module 1\.0: expected .*got Conv1d"),
        (nn.Sequential(nn.Flatten(2)), "module 0, Flatten: expected start_dim=1"),
        (nn.LayerNorm((2, 3)), "one normalized dimension"),
        (nn.Sequential(nn.Bilinear(1, 1, 1)), r"got Bilinear\(.*\)$"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "got ParametrizedLinear"),
        ((lambda part: nn.Sequential(nn.Linear(2, 3), part, part))(nn.Linear(3, 3)), "twice: Linear.*in_features=3"),
        ((lambda part: nn.Sequential(part, part))(nn.Sequential(nn.Linear(2, 2))), "twice: Linear"),
    ],
)
def test_module_without_counterpart_is_named(module, match):
    with pytest.raises(ValueError, match=match):
        hm.from_torch(module)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of importing the compiler
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrappers_that_train_a_module_are_looked_through(wrap):
    inner, module = nn.Linear(5, 4), trained(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU())
    inner.load_state_dict(module[2].state_dict())
    parts = [module[0], nn.Tanh(), wrap(inner.double()), nn.ReLU()]
    for wrapped in wrap(module), nn.Sequential(*parts), wrap(nn.Sequential(*parts)):
        assert_equal_outputs(module, hm.from_torch(wrapped))
        for source in {"activation": "tanh"}, {"network": hm.MLP([3, 5, 4], "tanh")}:
            network = hm.from_torch(wrap(module[:3]).state_dict(), **source)
            assert_equal_outputs(module[:3], network)
    with_hook(wrapped)
    with pytest.raises(ValueError, match=r"^module given: expected the forward of (OptimizedModule|DataParallel), got"):
        hm.from_torch(wrapped)


# ---- weights -------------------------------------------------------------------------------------------------------


def test_files_of_weights_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    module = trained(
        nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 2)
    )
    torch.save(module.state_dict(), tmp_path / "m.pt")
    save_file(module.state_dict(), tmp_path / "m.safetensors")
    for source in (tmp_path / "m.pt", str(tmp_path / "m.safetensors"), module.state_dict()):
        network = hm.from_torch(source, activation="relu")
        assert_equal_outputs(module, network)
        assert network.state_dict().keys() == module.state_dict().keys()
        architecture = hm.from_torch(module)
        architecture.theta[:] = 0
        assert_equal_outputs(module, hm.from_torch(source, architecture))
        assert not architecture.theta.any()


def test_weights_written_on_another_device_are_read(tmp_path, monkeypatch):
    registry = [(0, lambda storage: "a device that is not here", lambda storage, place: None)]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch.serialization, "_package_registry", registry)
        torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "m.pt")
    with pytest.raises(RuntimeError, match="a device that is not here"):
        torch.load(tmp_path / "m.pt", weights_only=True)
    assert hm.from_torch(tmp_path / "m.pt").in_features == 3


def test_weights_under_a_prefix_fit_a_network_only_as_a_whole():
    network = hm.MLP([3, 5, 4], normalization="batch", rng=0)
    state = {f"model.net.{name}": array for name, array in network.state_dict().items()}
    assert (hm.from_torch(state, hm.MLP([3, 5, 4], normalization="batch", rng=1)).theta == network.theta).all()
    for others in {"other.0.weight": np.ones((5, 3))}, {"model.net.7.weight": np.ones((5, 3))}:
        with pytest.raises(ValueError, match=r"^state_dict: .* unknown \['model.net.0.weight'"):
            hm.from_torch({**state, **others}, network)


def test_checkpoint_of_a_training_is_told_which_part_to_pass(tmp_path):
    module = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, "optimizer": optimizer.state_dict(), "model": module.state_dict()}
    torch.save(checkpoint, tmp_path / "run.pt")
    for source in checkpoint, tmp_path / "run.pt":
        with pytest.raises(ValueError, match=r"got one under 'model', beside other things; .*torch.load\(path\)\['mod"):
            hm.from_torch(source)


def test_own_files_take_the_dtype_of_the_architecture(tmp_path, monkeypatch):
    own = hm.MLP([3, 4, 2], "tanh", rng=0)
    single = hm.MLP([3, 4, 2], "tanh", dtype=np.float32)
    monkeypatch.setitem(sys.modules, "torch", None)  # which these files do not need
    for name in "m.safetensors", "M.SAFETENSORS", "m.npz":
        hm.save(own, tmp_path / name.lower())
        (tmp_path / name.lower()).rename(tmp_path / name)
        assert (hm.from_torch(tmp_path / name, activation="tanh").theta == own.theta).all()
        found = hm.from_torch(tmp_path / name, single)
        assert found.dtype == np.float32 and (found.theta == own.theta.astype(np.float32)).all()


def test_layers_in_gaps_keep_their_place():
    # The activation stands before the normalization here, and ten layers sort by number, not by name.
    module = trained(*[nn.Linear(3, 3) for _ in range(9)], nn.Tanh(), nn.BatchNorm1d(3), nn.Linear(3, 2))
    state = dict(sorted(module.state_dict().items()))
    network = hm.from_torch({f"net.{name}": tensor for name, tensor in state.items()}, activation="tanh")
    assert_equal_outputs(module, network)


def test_weights_keep_their_dtype_and_the_gap_before_the_first():
    for dtype in (np.float32, np.float64):
        weights = {"1.weight": np.ones((2, 3), dtype), "1.bias": np.zeros(2, dtype)}
        network = hm.from_torch(weights, activation="tanh")
        assert network.dtype == dtype and [type(layer) for layer in network.layers] == [hm.Activation, hm.Dense]
    mixed = {"0.weight": np.ones((2, 3), np.float32), "0.bias": np.zeros(2)}
    assert hm.from_torch(mixed).dtype == np.float64


def test_single_weights_are_a_prelu():
    layers = nn.Linear(3, 4), nn.PReLU(), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 2)
    module = trained(*layers)
    assert_equal_outputs(module, hm.from_torch(module.state_dict()))
    named = {f"{'abcdef'[int(name[0])]}{name[1:]}": tensor for name, tensor in module.state_dict().items()}
    assert_equal_outputs(module, hm.from_torch(named))


def test_gaps_after_a_prelu_hold_no_other_activation():
    weights = {"0.weight": np.ones((2, 3)), "1.weight": np.ones(1), "4.weight": np.ones((1, 2))}
    names = [getattr(layer, "function", type(layer).__name__) for layer in hm.from_torch(weights).layers]
    assert names == ["Dense", "PReLU", "identity", "identity", "Dense"]


def test_a_pair_of_vectors_is_a_layer_normalization():
    module = trained(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert_equal_outputs(module, hm.from_torch(module.state_dict()))


def test_named_layers_are_taken_in_order():
    first, second = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
    state = {
        f"{name}.{key}": v for name, part in (("fc", first), ("out", second)) for key, v in part.state_dict().items()
    }
    some_numbered = {name.replace("fc", "0"): tensor for name, tensor in state.items()}
    for names in state, some_numbered:
        assert_equal_outputs(nn.Sequential(first, nn.ReLU(), second), hm.from_torch(names, activation="relu"))


def test_bad_sources_are_refused(tmp_path, monkeypatch):
    whole, text = tmp_path / "whole.pt", tmp_path / "text.pt"
    torch.save(nn.Linear(2, 1), whole)
    torch.save([1.5], tmp_path / "list.pt")
    text.write_text("no weights")
    weights = {"0.weight": np.ones((2, 2)), "2.weight": np.ones((1, 2))}
    for source, options, error, match in [
        (whole, {}, ValueError, "weights alone"),
        (text, {}, ValueError, "weights alone"),
        (tmp_path / "list.pt", {}, ValueError, "list.pt: expected a state_dict, got list"),
        (tmp_path / "none.pt", {}, FileNotFoundError, "none"),
        (3, {}, TypeError, "state_dict or a path"),
        (torch.optim.SGD([torch.zeros(1)]), {}, TypeError, "a state_dict or a path, got SGD"),
        ({"model": weights, "epoch": 3}, {}, ValueError, "arrays.*'model'"),
        (weights, {}, ValueError, "activation='relu'"),
        ({"0.weight": np.ones((2, 2, 2))}, {}, ValueError, "Linear, PReLU or a normalization"),
        ({"0.weight": np.ones((4, 3)), "1.weight": np.ones(4)}, {}, ValueError, "PReLU, RMSNorm and LayerNorm have"),
        ({"0.weight": np.ones((1, 3)), "1.weight": np.ones(1)}, {}, ValueError, "PReLU, RMSNorm and LayerNorm have"),
        ({"0.running_mean": np.ones((2, 2))}, {}, ValueError, "Linear, PReLU or a normalization"),
        ({"0.filter": np.ones(2)}, {}, ValueError, "filter"),
        ({}, {}, ValueError, "at least one layer"),
        ({"0.weight": np.ones((2, 2)), "2.weight": np.ones((1, 3))}, {"activation": "relu"}, ValueError, "3 inputs"),
        (weights, {"network": hm.MLP([2, 3, 1])}, ValueError, "missing"),
    ]:  # fmt: skip
        with pytest.raises(error, match=match):
            hm.from_torch(source, **options)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="safetensors"):
        hm.from_torch(whole)


# ---- scikit-learn --------------------------------------------------------------------------------------------------

X = np.random.default_rng(1).normal(size=(60, 3))
TARGETS = {
    "binary": (X[:, 0] > 0).astype(int),
    "classes": np.array(["a", "b", "c"])[np.arange(60) % 3],
    "labels": (X[:, :2] > 0).astype(int),
}


def fitted(kind, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(hidden_layer_sizes=[7, 5], max_iter=20, random_state=0, **options).fit(X, y)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_classifiers_give_equal_probabilities(target, activation):
    neural_network = pytest.importorskip("sklearn.neural_network")
    mlp = fitted(neural_network.MLPClassifier, TARGETS[target], activation=activation)
    P = hm.from_sklearn(mlp, probabilities=True).predict(X)
    expected = mlp.predict_proba(X)
    assert_close(P, expected[:, 1:] if target == "binary" else expected, operations=100)
    logits = hm.from_sklearn(mlp).predict(X)
    chosen = logits[:, 0] > 0 if target == "binary" else logits > 0 if target == "labels" else logits.argmax(axis=1)
    known = mlp.predict(X) if target != "classes" else np.searchsorted(mlp.classes_, mlp.predict(X))
    assert (chosen == known).all()


def test_regressors_give_equal_predictions():
    neural_network = pytest.importorskip("sklearn.neural_network")
    mlp = fitted(neural_network.MLPRegressor, X[:, :2] ** 2)
    assert_close(hm.from_sklearn(mlp).predict(X), mlp.predict(X), operations=100)
    mlp = fitted(neural_network.MLPRegressor, X[:, 0].astype(np.float32))
    assert hm.from_sklearn(mlp).predict(X).shape == (60, 1)


def test_unfitted_and_foreign_estimators_are_refused():
    neural_network = pytest.importorskip("sklearn.neural_network")
    for estimator in (neural_network.MLPClassifier(), 3):
        with pytest.raises(TypeError, match="fitted MLPClassifier or MLPRegressor"):
            hm.from_sklearn(estimator)
    own = hm.estimators.MLPRegressor([3], normalization="batch").partial_fit(X, X[:, 0])
    with pytest.raises(
        TypeError, match=r"^mlp: expected an estimator of scikit-learn, got MLPRegressor\(.*use its network_"
    ):
        hm.from_sklearn(own)
    poisson = fitted(neural_network.MLPRegressor, X[:, 0] ** 2, loss="poisson")
    with pytest.raises(ValueError, match="'exp'"):
        hm.from_sklearn(poisson, probabilities=True)


def test_what_holds_no_numbers_is_refused():
    with pytest.raises(TypeError, match=r"source: .* got the class Linear; make an object"):
        hm.from_torch(nn.Linear)
    with pytest.raises(ValueError, match="source: expected numbers, got 'weight' on the device meta"):
        hm.from_torch(nn.Linear(2, 1, device="meta"))
    with pytest.raises(TypeError, match=r"^source: 0\.weight: expected an array without a mask, got MaskedArray"):
        hm.from_torch({"0.weight": np.ma.ones((1, 2)), "0.bias": np.ones(1)})


def with_hook(module):
    module.register_forward_hook(lambda module, arguments, result: 2 * result)


def with_pre_hook(module):
    prune.l1_unstructured(module, "weight", 0.5)


def with_forward(module):
    module.forward = lambda input: 2 * nn.Linear.forward(module, input)


@pytest.mark.parametrize("change", [with_hook, with_pre_hook, with_forward])
def test_a_module_that_computes_something_else_is_refused(change):
    module = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2)))
    change(module[1][0])
    with pytest.raises(
        ValueError, match=r"^module 1\.0: expected the forward of Linear, got one with hooks, or of the "
    ):
        hm.from_torch(module)


@pytest.mark.parametrize(
    "source", [nn.Sequential(nn.Linear(2, 1)), {"0.weight": np.ones((1, 2)), "0.bias": np.ones(1)}]
)
def test_arguments_that_would_have_no_effect_are_refused(source):
    with pytest.raises(ValueError, match=r"^activation: expected none with a module or network, .*, got 'tanh'"):
        hm.from_torch(source, None if isinstance(source, nn.Module) else hm.MLP([2, 1]), activation="tanh")
    if isinstance(source, nn.Module):
        with pytest.raises(ValueError, match=r"^network: expected none with a module or network, .*, got Network\("):
            hm.from_torch(source, hm.MLP([2, 1]))


def test_a_class_of_ones_own_is_told_the_cure():
    class Mine(nn.Module):
        pass

    with pytest.raises(ValueError, match=r"got Mine\(\); give the class a method to_handmade"):
        hm.from_torch(Mine())


def test_a_part_of_ones_own_module_is_named_by_its_place():
    class Twice(nn.Module):
        def to_handmade(self, layer_of):
            return hm.Sequential([layer_of(nn.Tanh()), layer_of(nn.Conv1d(1, 1, 1))])

    with pytest.raises(ValueError, match=r"^module 1: expected .*got Conv1d"):
        hm.from_torch(nn.Sequential(nn.Linear(3, 2), Twice()))
