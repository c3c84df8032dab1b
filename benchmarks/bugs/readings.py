"""Classes of explanations with words that were not written down before. They were read after a run.

They are counted separately. Each entry is a pattern of the words, and its class: "same", the mistake in other words or
as an exact formula; "true", a true statement that does not name the cause; or "false".
"""

from __future__ import annotations

import re

__all__ = ["reading"]

READINGS: dict[str, tuple[tuple[str, str], ...]] = {
    # published
    "cross_entropy_of_the_opposite_label": ((r"right - 1/\(2 n\) sign\((right|sigmoid\(a\)-y)\)", "true"),),
    "margin_of_the_own_class_counted_once": ((r"1/\(n k\) sign\((right|p-y)\)", "same"),),
    "softplus_threshold_of_the_output": ((r"right where a < about .*, else dh", "true"),),
    "batch_norm_divides_by_the_squared_variance": ((r"inv\^4 dxhat - inv\^4 mean\(dxhat\)", "same"),),
    "batch_norm_without_gamma": ((r"= inv dh - inv mean\(dh\) - inv xhat mean\(dh xhat\)", "same"),),
    "gradient_of_the_previous_half_kept": ((r"right, each row times a number of its own: 3, 3, 3, 1, 1, 1", "true"),),
    "skip_gradient_sent_through_the_block": ((r"da\[0\] = 2 da @ w\[1\.0\]", "same"),),
    "ignored_labels_counted_in_the_mean": ((r"constant factor|= 0\.\d+ right", "true"),),
    "softmax_without_its_dot_product": ((r"\bda\[\d\] = dh h$", "same"),),
    "elu_slope_from_the_preactivation": ((r"dh \+ dh a \[a < 0\]", "same"),),
    "layer_norm_without_gamma": ((r"= inv dh - inv mean\(dh\) - inv xhat mean\(dh xhat\)", "same"),),
    "penalty_of_the_biases_left_out": ((r"gradient of b\d = data loss", "same"),),
    "hidden_delta_from_the_error_itself": ((r"\d\.\d{4}\d* dh @ w\d", "false"),),
    "layer_norm_gradients_swapped": ((r"gradient of another parameter, in 1\.weight, 1\.bias", "same"),),
    "reused_value_passes_its_gradient_twice": ((r"da\[\d\] = dh \+ da @ w\d", "same"),),
    "huber_without_its_negative_tail": ((r"of 48 entries are 0", "true"),),
    "targets_broadcast_against_a_column": (
        (r"\d\.\d{4}\d* mean over the samples", "false"),
        (r"da\[2\] = 2/n a \+ \d\.\d+$", "true"),
    ),
    "weights_gradient_in_an_integer_array": ((r"not computed|0 right", "true"),),
    # held-out
    "absolute_error_derived_as_a_square": ((r"da\[4\] = 1/\(2 n\) \(a-y\)$", "same"),),
    "huber_without_its_tail": ((r"da\[2\] = 1/\(2 n\) \(a-y\)$", "same"),),
    "positive_weight_on_both_targets": ((r"da\[2\] = 1/n \(sigmoid\(a\)-y\)$", "true"),),
    "only_the_positive_half_of_a_cross_entropy": ((r"second term of the cross-entropy missing", "same"),),
    "smoothing_shared_among_the_other_classes": (
        (r"with targets 0\.8 in place of 0\.85 for the class, and 0\.0666667 in place of 0\.05", "same"),
    ),
    "class_weights_along_the_columns": ((r"weight\[unit\] \(p-y\)", "same"),),
    "gate_without_its_slope": ((r"gradient by a = \(gradient by `1 / \(1 \+ exp\(-a\)\)`\)", "same"),),
    "sample_weights_squared": ((r"= right weight\b", "same"),),
    "ignored_rows_keep_their_probabilities": (
        (r"= 1/12 \(p-y\)$", "true"),
        (r"= \(p-y\) / number of labels that count", "same"),
        (r"right, but not 0 where the right one is 0", "same"),
    ),
    "log_rate_derived_as_a_rate": ((r"-right \+ right 1/sigmoid\(a\)$", "true"),),
    "gelu_without_the_product_rule": ((r"da\[2\] = dh h/a and da\[0\] = dh h/a", "same"),),
    "guided_backpropagation": ((r"= 1/2 da @ w\[2\] \+ 1/2 \|da @ w\[2\]\|", "same"),),
    "log_softmax_without_its_sum": (
        (r"0 where dh > 0, else right", "false"),
        (r"0 where dh >= 0, else right", "true"),  # dH is 0 for all classes but the target
    ),
    "softsign_slope_without_its_square": ((r"da\[0\] = dh h/a$", "same"),),
    "outer_product_of_averages": ((r"dw\[2\] = 1/n da\^t @ x with sums for products", "same"),),
    "activations_of_the_neighbouring_sample": ((r"x of the sample before", "same"),),
    "batch_norm_with_n_minus_one": ((r"- n/\(n-1\) inv xhat mean\(dxhat xhat\)", "same"),),
    "skip_through_the_activation": ((r"da\[0\] = da @ w\[1\.0\] \+ da$", "same"),),
    "lasso_derived_as_ridge": ((r"gradient of w2, w0 = data \+ 0\.05 theta", "same"),),
    "targets_cast_to_integers": ((r"\d\.\d{4}\d*/n \(a-y\) \[a-y < ", "false"),),
}


def reading(name: str, said: str) -> str:
    """Return the class of the words ``said`` about a mistake: "same", "true", "false", or "unread".

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
