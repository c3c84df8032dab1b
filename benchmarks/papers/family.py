"""The two families of 1986: 24 people, 12 relations, and the 104 questions that have an answer."""

from __future__ import annotations

import numpy as np

__all__ = ["BRANCH", "CASES", "GENERATION", "NATIONALITY", "PEOPLE", "RELATIONS", "one_hot_cases"]

RELATIONS = (
    "father", "mother", "husband", "wife", "son", "daughter", "uncle", "aunt", "brother", "sister", "nephew", "niece"
)  # fmt: skip

# In one order in both trees, which are alike: each person stands where the other tree has its counterpart.
ENGLISH = (
    "Christopher", "Penelope", "Andrew", "Christine", "Margaret", "Arthur", "Victoria", "James", "Jennifer",
    "Charles", "Colin", "Charlotte",
)  # fmt: skip
ITALIAN = (
    "Roberto", "Maria", "Pierro", "Francesca", "Gina", "Emilio", "Lucia", "Marco", "Angela", "Tomaso", "Alfonso",
    "Sophia",
)  # fmt: skip
PEOPLE = ENGLISH + ITALIAN

# The tree, as positions in these lists: husband and wife, and the children of a couple.
COUPLES = ((0, 1), (2, 3), (5, 4), (7, 6), (9, 8))
CHILDREN = {(0, 1): (5, 6), (2, 3): (7, 8), (7, 6): (10, 11)}
MEN = {0, 2, 5, 7, 9, 10}

# What the paper finds in the six person units. Colin and Charlotte descend from both founding couples.
NATIONALITY = np.repeat([1, -1], 12)
GENERATION = np.tile(np.repeat([1, 2, 3], [4, 6, 2]), 2)
BRANCH = np.tile([1, 1, -1, -1, 1, 1, 1, -1, -1, -1, 0, 0], 2)


def _relatives() -> dict[tuple[int, str], set[int]]:
    """Return (person, relation) -> the relatives, in one tree; aunts, uncles, nephews and nieces by marriage count."""
    spouse = {a: b for couple in COUPLES for a, b in (couple, couple[::-1])}
    parents = {child: couple for couple, children in CHILDREN.items() for child in children}
    children = {parent: set(family) for couple, family in CHILDREN.items() for parent in couple}
    siblings = {child: set(CHILDREN[couple]) - {child} for child, couple in parents.items()}
    found: dict[tuple[int, str], set[int]] = {}
    for person in range(len(ENGLISH)):
        mine = set(parents.get(person, ()))
        blood = set().union(*(siblings.get(parent, set()) for parent in mine))
        elders = blood | {spouse[elder] for elder in blood if elder in spouse}
        near = siblings.get(person, set()) | siblings.get(spouse.get(person), set())
        young = set().union(*(children.get(relative, set()) for relative in near))
        kin = [("father", "mother", mine), ("husband", "wife", {spouse[person]} if person in spouse else set())]
        kin += [("son", "daughter", children.get(person, set())), ("uncle", "aunt", elders)]
        kin += [("brother", "sister", siblings.get(person, set())), ("nephew", "niece", young)]
        for male, female, relatives in kin:
            found[person, male], found[person, female] = relatives & MEN, relatives - MEN
    return {question: answer for question, answer in found.items() if answer}


def _cases() -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (tree[person], relation, tuple(tree[relative] for relative in sorted(relatives)))
        for tree in (ENGLISH, ITALIAN)
        for (person, relation), relatives in _relatives().items()
    ]


CASES = _cases()


def one_hot_cases() -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs, person and relation in one unit each, (104, 36), and a unit per right answer, (104, 24).

    Examples
    --------
    >>> X, Y = one_hot_cases()
    >>> X.shape, Y.shape, int(Y.sum())
    ((104, 36), (104, 24), 112)
    """
    X, Y = np.zeros((len(CASES), len(PEOPLE) + len(RELATIONS))), np.zeros((len(CASES), len(PEOPLE)))
    for row, (person, relation, relatives) in enumerate(CASES):
        X[row, [PEOPLE.index(person), len(PEOPLE) + RELATIONS.index(relation)]] = 1
        Y[row, [PEOPLE.index(relative) for relative in relatives]] = 1
    return X, Y
