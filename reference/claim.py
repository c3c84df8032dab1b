"""A statement of the lecture's slides, with a verdict and its evidence."""

from __future__ import annotations

import dataclasses

__all__ = ["Claim"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the slides, with a verdict and its evidence.

    Attributes
    ----------
    number : int
        The number of the statement.
    sentence : str
        The statement, word for word.
    verdict : str
        ``"true"``, ``"false"`` or ``"convention"``.
    evidence : str
        The measured counterexample or confirmation.
    numbers : dict of str to float
        The computed numbers.

    Examples
    --------
    >>> from reference.lecture_claims import zero_one
    >>> claim = zero_one(np.random.default_rng(0))
    >>> claim.sentence, claim.verdict
    ('Zero-one loss: l(yhat, y) = 1[yhat = y]', 'false')
    """

    number: int
    sentence: str
    verdict: str
    evidence: str
    numbers: dict[str, float]
