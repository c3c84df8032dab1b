"""The bugs, each a substitution in the text of a correct program, with the names that a right diagnosis gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .student_programs import Setting

__all__ = ["BUGS", "RARE", "Bug"]


@dataclasses.dataclass(frozen=True)
class Bug:
    """A bug: a wrong line in a correct program.

    Attributes
    ----------
    name : str
        A short description of the mistake.
    right, wrong : str
        The text that is replaced, which occurs once in the program, and its replacement.
    expected : tuple of str
        The names of explanations by `handmade.diagnose_gradient` that count as right.
    setting : Setting
        The correct program.
    """

    name: str
    right: str
    wrong: str
    expected: tuple[str, ...]
    setting: Setting

    @property
    def text(self) -> str:
        """The text of the wrong program.

        Examples
        --------
        >>> BUGS[0].text == BUGS[0].setting.text
        False
        """
        text = self.setting.text
        if text.count(self.right) != 1:
            raise ValueError(f"{self.name}: expected {self.right!r} once in the program, got {text.count(self.right)}")
        return text.replace(self.right, self.wrong)


def _collected(*kinds: Callable) -> tuple[Bug, ...]:
    found = []

    def bug(name: str, right: str, wrong: str, *expected: str, **setting) -> None:
        found.append(Bug(name, right, wrong, expected, Setting(**setting)))

    for kind in kinds:
        kind(bug)
    return tuple(found)


SLOPE = "dA = dH * f_prime(As[l - 1], Hs[l])"
RETURN = "return loss_of(Hs[-1], y), gradients"
WEIGHT = "gradients[2 * l] += dA.T @ Hs[l]"
BIAS = "gradients[2 * l + 1] += dA.sum(axis=0)"
BACK = "dH = dA @ W"
MEAN = "(P - Y) / len(y)"


def _cross_entropy_bugs(bug: Callable) -> None:
    onehot, P = "Y = np.eye(A.shape[1])[y]", "P = softmax(A)\n"
    bug("sign of p - y", "(P - Y)", "(Y - P)", "sign")
    bug("p + y", "(P - Y)", "(P + Y)", "sum of p and y")
    bug("target forgotten", "(P - Y)", "P", "target not subtracted")
    bug("diagonal Jacobian", MEAN, "-Y / P * P * (1 - P) / len(y)", "softmax with a diagonal Jacobian")
    bug("error times p (1 - p)", MEAN, "(P - Y) * P * (1 - P) / len(y)", "p - y times p (1 - p)")
    bug("softmax twice", P, "P = softmax(softmax(A))\n", "softmax applied twice")
    bug("softmax missing", P, "P = A\n", "softmax missing")
    bug("softmax over samples", P, "P = softmax(A.T).T\n", "softmax over the wrong axis")
    bug("sigmoid for softmax", P, "P = 1 / (1 + np.exp(-A))\n", "sigmoid for softmax")
    bug("derivative by p, Jacobian forgotten", MEAN, "-Y / P / len(y)", "by the probabilities, not the logits")
    bug("label off by one", onehot, "Y = np.eye(A.shape[1])[y - 1]", "class index one too small")
    bug("only the target's class", MEAN, "Y * (P - Y) / len(y)", "only the target's class")
    bug("predicted class", P, "P = np.eye(A.shape[1])[A.argmax(axis=1)]\n", "predicted class for probabilities")
    bug("squared error's gradient", MEAN, "P * ((P - Y) - ((P - Y) * P).sum(axis=1, keepdims=True)) / len(y)",
        "squared error of the probabilities")  # fmt: skip
    bug("log(0)", MEAN, "(lambda dP: P * (dP - (dP * P).sum(axis=1, keepdims=True)))(-Y / P / len(y))", "not finite",
        scale=3000.0, activation="relu")  # fmt: skip
    bug("label smoothing ignored", "    Y = smoothed(A, y)", "    Y = np.eye(A.shape[1])[y]", "label_smoothing ignored",
        head="label_smoothing")  # fmt: skip
    bug("sample_weight ignored", "sample_weight[:, None] * (P - Y)", "(P - Y)", "sample_weight ignored",
        head="sample_weight")  # fmt: skip


def _bugs_of_other_losses(bug: Callable) -> None:
    both = dict(head="half_of_sigmoid", activation="sigmoid", sizes=(3, 4, 2))
    bug("sigmoid's derivative missing at the output", "(P - y) * P * (1 - P)", "(P - y)",
        "activation derivative missing", **both)  # fmt: skip
    bug("s' without 1 - s at the output", "(P - y) * P * (1 - P)", "(P - y) * P",
        "activation in place of its derivative", **both)  # fmt: skip
    binary = dict(head="bce", sizes=(3, 4, 1), activation="relu", N=9)
    bug("binary: error times p (1 - p)", "(P - y) / y.size", "(P - y) * P * (1 - P) / y.size",
        "p - y times p (1 - p)", **binary)  # fmt: skip
    bug("binary: sigmoid twice", "    P = sigmoid(A)", "    P = sigmoid(sigmoid(A))", "sigmoid applied twice", **binary)
    bug("binary: second term missing", "(P - y) / y.size", "-y * (1 - P) / y.size",
        "second term of the cross-entropy missing, by the logit", **binary)  # fmt: skip
    through = dict(binary, head="bce_of_sigmoid")
    bug("binary: second term missing, by p", "(-y / P + (1 - y) / (1 - P))", "(-y / P)",
        "second term of the cross-entropy missing", **through)  # fmt: skip
    bug("binary: sigmoid's derivative missing", "dP * P * (1 - P)", "dP", "activation derivative missing", **through)
    hinge = dict(head="hinge", sizes=(3, 16, 1), N=9)
    bug("hinge: condition missing", "-y * (y * A < 1)", "-y", "margin condition missing", **hinge)
    bug("hinge: label missing", "-y * (y * A < 1)", "-1.0 * (y * A < 1)", "label missing in the hinge", **hinge)
    bug("regression: error for its sign", "np.sign(A - y)", "(A - y)", "gradient of half_squared_error",
        "error without its bounds", head="l1", sizes=(3, 4, 2))  # fmt: skip
    bug("regression: prediction forgotten", "(A - y) / len(y)", "-y / len(y)", "prediction not in the gradient",
        head="half")  # fmt: skip


def _factor_bugs(bug: Callable) -> None:
    bug("1/N missing", MEAN, "(P - Y)", "times N")
    bug("1/N twice", BIAS, BIAS.replace("dA.sum(axis=0)", "dA.sum(axis=0) / len(X)") + "\n        "
        + "gradients[2 * l] /= len(X)", "divided by N")  # fmt: skip
    bug("factor 2 missing", "2 * (A - y)", "(A - y)", "factor 1/2", head="mse", sizes=(3, 4, 5))
    bug("factor 2 too much", "(A - y) / len(y)", "2 * (A - y) / len(y)", "factor 2", head="half", sizes=(3, 4, 5))
    bug("1/n_outputs missing", "y.size", "len(y)", "times outputs", head="mse", sizes=(3, 4, 5))
    bug("1/n_outputs too much", "(A - y) / len(y)", "(A - y) / y.size", "divided by outputs", head="half",
        sizes=(3, 4, 5))  # fmt: skip
    bug("1/N and 1/n_outputs missing", " / y.size", "", "times N outputs", head="mse", sizes=(3, 4, 5), N=7)
    bug("1/N and factor 2 missing", "2 * (A - y) / y.size", "(A - y) / y.shape[1]", "factor 1/2 and times N",
        head="mse", sizes=(3, 4, 5), N=7)  # fmt: skip
    bug("eta in every layer", SLOPE, SLOPE.replace("= ", "= eta * "), "learning rate in the chain rule",
        sizes=(3, 5, 4, 4, 3))  # fmt: skip
    bug("eta in one layer", SLOPE, SLOPE + " * (eta if l == 1 else 1)", "constant factor", "divided by learning rate",
        "times learning rate", sizes=(3, 5, 4, 3))  # fmt: skip
    bug("eta in the loss", MEAN, "eta * (P - Y) / len(y)", "constant factor", "times learning rate")
    bug("update for gradient", RETURN, RETURN.replace("gradients", "[-eta * g for g in gradients]"),
        "sign and constant factor", "constant factor", "sign and times learning rate")  # fmt: skip
    bug("all signs", RETURN, RETURN.replace("gradients", "[-g for g in gradients]"), "sign")
    bug("sign of the biases", BIAS, BIAS.replace("+=", "-="), "sign", sizes=(3, 5, 4, 3))
    bug("clipped by norm", RETURN, RETURN.replace(
        "gradients", "[g * min(1, 0.1 / np.sqrt(sum(np.sum(g ** 2) for g in gradients))) for g in gradients]"),
        "clipped by norm")  # fmt: skip
    bug("clipped by value", RETURN, RETURN.replace("gradients", "[np.clip(g, -0.05, 0.05) for g in gradients]"),
        "clipped by value")  # fmt: skip
    bug("normalized", RETURN, RETURN.replace(
        "gradients", "[g / np.sqrt(sum(np.sum(g ** 2) for g in gradients)) for g in gradients]"),
        "clipped by norm", "normalized")  # fmt: skip
    bug("normalized, each parameter", RETURN, RETURN.replace(
        "gradients", "[g / np.linalg.norm(g) for g in gradients]"), "each parameter normalized")  # fmt: skip
    bug("cast to integers", RETURN, RETURN.replace("gradients", "[g.astype(int) for g in gradients]"),
        "truncated to integers", scale=9.0, activation="softplus")  # fmt: skip
    bug("cast to float16", RETURN, RETURN.replace("gradients", "[g.astype(np.float16) for g in gradients]"),
        "rounded to float16")  # fmt: skip


def _activation_bugs(bug: Callable) -> None:
    deep = dict(sizes=(3, 5, 4, 4, 3))
    missing = "activation derivative missing"
    bug("activation derivative missing", SLOPE, "dA = dH", missing)
    bug("activation derivative missing everywhere", SLOPE, "dA = dH", missing, **deep)
    bug("activation derivative missing in one layer", SLOPE,
        "dA = dH * (f_prime(As[l - 1], Hs[l]) if l > 1 else 1)", missing, **deep)  # fmt: skip
    bug("activation derivative missing in the top hidden layer", SLOPE,
        "dA = dH * (f_prime(As[l - 1], Hs[l]) if l < len(As) - 1 else 1)", missing, **deep)  # fmt: skip
    tanh, sigmoid = "return 1 - H ** 2", "return H * (1 - H)"
    bug("tanh' at A: 1 - A^2", tanh, "return 1 - A ** 2", "derivative formula 1 - a^2")
    bug("tanh' of an output: 1 - tanh(H)^2", tanh, "return 1 - np.tanh(H) ** 2",
        "activation derivative taken at its output")  # fmt: skip
    bug("tanh' without the square", tanh, "return 1 - H", "derivative formula 1 - h")
    bug("tanh' = 1 + H^2", tanh, "return 1 + H ** 2", "derivative formula 1 + h^2")
    bug("tanh' with sigmoid's formula", tanh, sigmoid, "derivative formula h (1 - h)")
    bug("sigmoid' with tanh's formula", sigmoid, tanh, "derivative formula 1 - h^2", activation="sigmoid")
    bug("sigmoid' of an output", sigmoid, "return f(H) * (1 - f(H))", "activation derivative taken at its output",
        activation="sigmoid", **deep)  # fmt: skip
    bug("sigmoid' fed with A", sigmoid, "return A * (1 - A)", "derivative formula a (1 - a)", activation="sigmoid")
    bug("sigmoid' = s", sigmoid, "return H", "activation in place of its derivative", activation="sigmoid")
    bug("sigmoid' = 1 - s", sigmoid, "return 1 - H", "derivative formula 1 - h", activation="sigmoid")
    bug("sigmoid' = s^2", sigmoid, "return H ** 2", "derivative formula h^2", activation="sigmoid")
    bug("sigmoid' = s (1 + s)", sigmoid, "return H * (1 + H)", "derivative formula h (1 + h)", activation="sigmoid")
    bug("sigmoid' twice", "dA = dH * f_prime(As[l - 1], Hs[l])", "dA = dH * f_prime(As[l - 1], Hs[l]) ** 2",
        "activation derivative applied twice", activation="sigmoid")  # fmt: skip
    relu = dict(activation="relu", sizes=(3, 6, 6, 4), N=12)
    bug("relu' = H >= 0", "return A > 0", "return H >= 0", missing, "step function of the output, >= for >", **relu)
    bug("relu' = relu", "return A > 0", "return np.maximum(A, 0)", "activation in place of its derivative", **relu)
    bug("relu' from the gradient", SLOPE, "dA = dH * (dH > 0)", "mask from the gradient", **relu)
    bug("relu' of another layer", SLOPE, "dA = dH * f_prime(As[min(l, len(As) - 2)], Hs[l])",
        "activation derivative of another layer", **relu)  # fmt: skip
    bug("leaky slope forgotten", "return np.where(A > 0, 1.0, 0.01)", "return A > 0", "derivative of relu",
        "step function of the input", **dict(relu, activation="leaky_relu"))  # fmt: skip


def _dense_bugs(bug: Callable) -> None:
    square = dict(sizes=(4, 4, 4), N=6)
    cube = dict(sizes=(4, 4, 4), N=4)
    deep = dict(sizes=(4, 4, 4, 4))
    bug("dA @ W.T on a square layer", BACK, "dH = dA @ W.T", "weights transposed in propagation", **deep)
    bug("dA * W for dA @ W", BACK, "dH = dA * W", "* for @ in propagation", **cube)
    bug("W missing", BACK, "dH = dA", "weights missing in propagation", **square)
    bug("W of the layer below", BACK, "dH = dA @ parameters[2 * l - 2]", "weights of another layer in propagation",
        **deep)  # fmt: skip
    bug("W updated too early", BACK, "dH = dA @ (W - eta * gradients[2 * l])", "updated weights in propagation",
        sizes=(3, 5, 4, 3))  # fmt: skip
    bug("dW transposed", WEIGHT, "gradients[2 * l] += Hs[l].T @ dA", "transposed", **square)
    bug("dA.T * H for dA.T @ H", WEIGHT, "gradients[2 * l] += dA.T * Hs[l]", "* for @ in the weight gradient", **cube)
    bug("dA @ H for dA.T @ H", WEIGHT, "gradients[2 * l] += dA @ Hs[l]", "dA not transposed in the weight gradient",
        **cube)  # fmt: skip
    bug("A for H in dW", WEIGHT, "gradients[2 * l] += dA.T @ (As[l - 1] if l > 0 else X)",
        "weight gradient with pre-activation for activation", sizes=(3, 5, 4, 3))  # fmt: skip
    bug("X for H in dW", WEIGHT, "gradients[2 * l] += dA.T @ X", "weight gradient with input of another layer",
        "weight gradient with input of the layer below", **square)  # fmt: skip
    bug("own output for input in dW", WEIGHT, "gradients[2 * l] += dA.T @ Hs[l + 1]",
        "weight gradient with input of another layer",
        "weight gradient with output of the layer", **square)  # fmt: skip
    bug("gradient of H for that of A", WEIGHT, "gradients[2 * l] += (dA if l == len(As) - 1 else dH).T @ Hs[l]",
        "activation derivative missing in the weight gradient", sizes=(3, 5, 4, 3))  # fmt: skip
    bug("layers in reverse", RETURN, "return loss_of(Hs[-1], y), [gradients[i] for i in (4, 5, 2, 3, 0, 1)]",
        "gradient of another parameter", **deep)  # fmt: skip
    bug("bias gradient of another layer", BIAS, "gradients[-1 if l == 0 else 2 * l - 1] += dA.sum(axis=0)",
        "gradient of another parameter", **deep)  # fmt: skip
    bug("db over the wrong axis", BIAS, BIAS.replace("axis=0", "axis=1"), "bias gradient summed over the wrong axis",
        **cube)  # fmt: skip
    bug("db not summed", BIAS, "gradients[2 * l + 1] += dA[0]", "bias gradient of the first sample only")
    bug("db averaged", BIAS, BIAS.replace("sum", "mean"), "bias gradient averaged over the samples", "divided by N")
    bug("db forgotten", BIAS, "pass", "not computed")
    bug("db summed over everything", BIAS, BIAS.replace("axis=0", ""), "bias gradient summed over everything")
    bug("first layer forgotten", "reversed(range(len(As)))", "reversed(range(1, len(As)))", "not computed")


def _batch_bugs(bug: Callable) -> None:
    bug("last sample only", "dA = loss_backward(Hs[-1], y)",
        "dA = loss_backward(Hs[-1], y) * (np.arange(len(y)) == len(y) - 1)[:, None]", "last sample only")  # fmt: skip
    bug("first half of the batch", "dA = loss_backward(Hs[-1], y)",
        "dA = loss_backward(Hs[-1], y); dA[len(y) // 2:] = 0", "first half of the batch only", N=9)  # fmt: skip
    bug("loop stops one early", "range(len(X))", "range(len(X) - 1)", "last sample left out", body="loop")
    bug("loop starts at 1", "range(len(X))", "range(1, len(X))", "first sample left out", body="loop")
    bug("= for +=", "gradients[2 * l] = gradients[2 * l] + dW", "gradients[2 * l] = dW",
        "weight gradient of the last sample only", body="loop")  # fmt: skip
    bug("1/N missing after a loop", "[g / len(X) for g in gradients]", "gradients", "times N", body="loop")
    bug("targets shuffled", "dA = loss_backward(Hs[-1], y)", "dA = loss_backward(Hs[-1], np.roll(y, 1, axis=0))",
        "target of the previous sample", head="half")  # fmt: skip
    bug("averaged too early", "dA = loss_backward(Hs[-1], y)",
        "dA = loss_backward(Hs[-1], y); dA = np.tile(dA.mean(axis=0), (len(y), 1))",
        "averaged over the batch before going back")  # fmt: skip
    bug("sums multiplied for products summed", WEIGHT,
        "gradients[2 * l] += np.outer(dA.sum(axis=0), Hs[l].sum(axis=0))",
        "sums multiplied for products summed")  # fmt: skip


def _state_bugs(bug: Callable) -> None:
    zeros = "gradients = [np.zeros_like(p) for p in parameters]"
    stored = zeros.replace("= [", '= kept.setdefault("gradients", [') + ")"
    bug("gradients not cleared", zeros, stored, "gradients accumulate")
    bug("momentum buffer for gradient", RETURN,
        'kept["v"] = [0.9 * v + g for v, g in zip(kept.get("v", [0] * len(parameters)), gradients)]\n    '
        'return loss_of(Hs[-1], y), kept["v"]', "changes from call to call")  # fmt: skip
    bug("first moment for gradient", RETURN,
        'kept["m"] = [0.7 * m + 0.3 * g for m, g in zip(kept.get("m", [0] * len(parameters)), gradients)]\n    '
        'return loss_of(Hs[-1], y), kept["m"]', "changes from call to call",
        "changes from call to call and constant factor")  # fmt: skip


def _penalty_bugs(bug: Callable) -> None:
    weight, L2 = "dW = dA.T @ Hs[l] + lam * W", dict(body="L2")
    bug("L2 missing", weight, "dW = dA.T @ Hs[l]", "L2 term missing or too small", **L2)
    bug("L2 twice", weight, weight.replace("lam", "2 * lam"), "L2 term added or too large", **L2)
    bug("L2 half", weight, weight.replace("lam", "lam / 2"), "L2 term missing or too small", **L2)
    bug("L2 divided by N", weight, weight + " / len(X)", "L2 term missing or too small", **L2)
    bug("L2 with the wrong sign", weight, weight.replace("+", "-"), "L2 term missing or too small", **L2)
    bug("L2 on the biases", "db = dA.sum(axis=0)", "db = dA.sum(axis=0) + lam * b", "L2 term added or too large", **L2)
    bug("L1 for L2", weight, weight.replace("lam * W", "lam * np.sign(W)"), "L1 term for L2 term",
        "L2 term missing or too small and L1 term added or too large", **L2)  # fmt: skip
    bug("L2 missing in one layer", weight, weight + " * (l > 0)", "L2 term missing or too small", **L2)


def _layer_bugs(bug: Callable) -> None:
    dropout, step = dict(body="dropout", sizes=(3, 8, 6, 3), N=9), "dH = dD * mask / keep"
    bug("dropout mask not applied", step, "dH = dD / keep", "dropout mask missing, its scale kept", **dropout)
    bug("dropout ignored", step, "dH = dD", "dropout mask missing", **dropout)
    bug("dropout scale missing", step, "dH = dD * mask", "dropout scale missing", **dropout)
    bug("dropout scale twice", step, step + " ** 2", "dropout scale applied twice", **dropout)
    bug("dropout mask redrawn", "mask = masks[l - 1]", "mask = draw(rng, dD)", "changes from call to call",
        "dropout mask redrawn", **dropout)  # fmt: skip
    bug("dropout mask of another layer", "mask = masks[l - 1]", "mask = masks[0]", "dropout mask of another layer",
        **dict(dropout, sizes=(3, 7, 7, 3)))  # fmt: skip
    residual = dict(body="residual", sizes=(3, 4, 4, 3))
    bug("skip forgotten", "dA0 = dH1 + dA1 @ W1", "dA0 = dA1 @ W1", "skip connection missing", **residual)
    bug("only the skip", "dA0 = dH1 + dA1 @ W1", "dA0 = dH1", "block missing beside its skip connection", **residual)
    norm, step = dict(body="batchnorm", N=8), "dA = inverse * (dZ - dZ.mean(axis=0) - Z * (dZ * Z).mean(axis=0))"
    bug("statistics taken for constants", step, "dA = inverse * dZ", "mean and variance taken for constants", **norm)
    bug("variance taken for a constant", step, "dA = inverse * (dZ - dZ.mean(axis=0))",
        "variance taken for a constant", **norm)  # fmt: skip
    bug("mean taken for a constant", step, "dA = inverse * (dZ - Z * (dZ * Z).mean(axis=0))",
        "mean taken for a constant", **norm)  # fmt: skip
    bug("batch normalization passed over", step, "dA = dB", "normalization ignored", **norm)
    bug("batch normalization: gamma alone", step, "dA = dZ", "normalization ignored but for gamma", **norm)
    bug("dgamma without Z", "dgamma = (dB * Z).sum(axis=0)", "dgamma = dB.sum(axis=0)",
        "gradient of another parameter", **norm)  # fmt: skip


def _rare_bugs(bug: Callable) -> None:
    """Add bugs that were written after the catalogue of mistakes was finished, without consulting it."""
    slope, names = "return 1 - H ** 2", "activation derivative negated"
    bug("tanh' = H^2 - 1", slope, "return H ** 2 - 1", names, "sign", sizes=(3, 5, 4, 4, 3))
    bug("tanh' = (1 - H) (1 - H)", slope, "return (1 - H) * (1 - H)", "derivative formula (1 - h)^2")
    bug("tanh' = 1 / cosh(A)", slope, "return 1 / np.cosh(A)")
    bug("tanh' = 1 - |H|", slope, "return 1 - np.abs(H)")
    bug("sigmoid' with a sign lost", "return H * (1 - H)", "return np.exp(A) / (1 + np.exp(-A)) ** 2",
        activation="sigmoid")  # fmt: skip
    bug("+ for * with the derivative", SLOPE, "dA = dH + f_prime(As[l - 1], Hs[l])")
    bug("half of p", MEAN, "(P / 2 - Y) / len(y)")
    bug("K times y", "Y = np.eye(A.shape[1])[y]", "Y = np.eye(A.shape[1])[y] * A.shape[1]")
    bug("db the mean times the width", BIAS, "gradients[2 * l + 1] += dA.mean(axis=0) * dA.shape[1]", "times width/N")
    bug("db of H for that of A", BIAS, "gradients[2 * l + 1] += (dA if l == len(As) - 1 else dH).sum(axis=0)",
        "activation derivative missing in the bias gradient", sizes=(3, 5, 4, 4, 3))  # fmt: skip
    bug("|W| for W", BACK, "dH = dA @ np.abs(W)", "weights without sign in propagation")
    bug("W^2 for W", BACK, "dH = dA @ W ** 2")
    bug("each sample normalized", BACK, "dH = dA @ W; dH /= np.linalg.norm(dH, axis=1, keepdims=True)")
    bug("clipped on the way back", BACK, "dH = np.clip(dA @ W, -0.05, 0.05)")
    bug("every second sample", "dA = loss_backward(Hs[-1], y)", "dA = loss_backward(Hs[-1], y); dA[::2] = 0")
    bug("dW of centred inputs", WEIGHT, "gradients[2 * l] += dA.T @ (Hs[l] - Hs[l].mean(axis=0))")
    bug("dW of H + 1", WEIGHT, "gradients[2 * l] += dA.T @ (Hs[l] + 1)")
    bug("the largest logit without gradient", "P = softmax(A)\n",
        "P = softmax(A) * (A < A.max(axis=1, keepdims=True))\n")  # fmt: skip
    bug("eta in the biases", BIAS, BIAS + " * eta", "times learning rate", sizes=(3, 5, 4, 4, 3))
    bug("dW averaged once more", WEIGHT, WEIGHT + " / len(X)", "divided by N")
    bug("dW of the previous sample's input", WEIGHT, "gradients[2 * l] += dA.T @ np.roll(Hs[l], 1, axis=0)")
    bug("sign, and 1/N missing", MEAN, "(Y - P)", "sign and times N")
    bug("W^2 for W in the penalty", "dW = dA.T @ Hs[l] + lam * W", "dW = dA.T @ Hs[l] + lam * W ** 2", body="L2")
    bug("relu' the wrong way round", "return A > 0", "return A < 0", "complement of the activation derivative",
        activation="relu", N=12)  # fmt: skip
    bug("leaky slope of 0.1", "return np.where(A > 0, 1.0, 0.01)", "return np.where(A > 0, 1.0, 0.1)",
        activation="leaky_relu", N=12, sizes=(3, 6, 4))  # fmt: skip


BUGS = _collected(
    _cross_entropy_bugs, _bugs_of_other_losses, _factor_bugs, _activation_bugs, _dense_bugs, _batch_bugs, _state_bugs,
    _penalty_bugs, _layer_bugs,
)  # fmt: skip
RARE = _collected(_rare_bugs)
