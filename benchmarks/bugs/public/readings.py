"""Meanings of explanations whose words nobody foresaw. They were read after a run, and are counted apart.

Each entry is a pattern of the words, and what they are: "same", the mistake in other words or as an exact formula;
"true", a true statement that does not name the cause; or "false".
"""

from __future__ import annotations

import re

__all__ = ["reading"]

READINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cross_entropy_of_the_opposite_label": ((r"right - 1/\(2 n\) sign\(right\)", "true"),),
    "margin_of_the_own_class_counted_once": ((r"1/\(n k\) sign\(right\)", "same"),),
    "ignored_labels_counted_in_the_mean": ((r"constant factor", "true"),),
    "softmax_without_its_dot_product": ((r"\bda\[\d\] = dh h$", "same"),),
    "elu_slope_from_the_preactivation": ((r"dh \+ dh a \[a < 0\]", "same"),),
    "layer_norm_without_gamma": ((r"= inv dh - inv mean\(dh\) - inv xhat mean\(dh xhat\)", "same"),),
    "penalty_of_the_biases_left_out": ((r"gradient of b\d = data loss", "same"),),
    "hidden_delta_from_the_error_itself": ((r"\d\.\d{4}\d* dh @ w\d", "false"),),
    "layer_norm_gradients_swapped": ((r"gradient of another parameter, in 1\.weight, 1\.bias", "same"),),
    "reused_value_passes_its_gradient_twice": ((r"da\[\d\] = dh \+ da @ w\d", "same"),),
    "huber_without_its_negative_tail": ((r"of 48 entries are 0", "true"),),
    "targets_broadcast_against_a_column": ((r"\d\.\d{4}\d* mean over the samples", "false"),),
    "weights_gradient_in_an_integer_array": ((r"not computed|0 right", "true"),),
}


def reading(name: str, said: str) -> str:
    """Return what the words said of a mistake are: "same", "true", "false", or "unread".

    Examples
    --------
    >>> reading("softmax_without_its_dot_product", "dA[1] = dH H")
    'same'
    >>> reading("softmax_without_its_dot_product", "a spelling mistake")
    'unread'
    """
    for pattern, meaning in READINGS.get(name, ()):
        if re.search(pattern, said.lower()):
            return meaning
    return "unread"
