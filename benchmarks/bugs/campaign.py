"""The parts of the benchmark, each a list of cases and a function that tests one case and returns a record."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from handmade.progress import progress_bar

from . import claims
from .catalogue import BUGS, RARE
from .claims import Claim, seconds_of
from .examples import EXAMPLES
from .families import FAMILIES, recorded, switched_off
from .heldout import HELD_OUT
from .mended import MENDED
from .outcomes import outcome, places
from .peers import PEERS, accused_by
from .public import BUGS as PUBLIC
from .public import Bug
from .right_gradients import right_gradient

__all__ = ["PARTS", "Record", "Records", "SETS", "collect"]

Record: TypeAlias = dict[str, Any]
Records: TypeAlias = dict[str, Record]  # by "part: case"

RIGHT = 2000
SHARED = 8  # other libraries test every eighth right gradient; 8 and the number of kinds, 9, are coprime
ZOO = {bug.name: bug for bug in (*BUGS, *RARE)}
# Sets of mistakes whose right explanations were written down before any diagnosis, by part.
SETS = {"public": ("published", PUBLIC), "heldout": ("held-out", HELD_OUT), "mended": ("mended", MENDED)}
MISTAKES = {bug.name: bug for _, bugs in SETS.values() for bug in bugs}
FORMS = {"function": True, "arrays": False}  # in which such a mistake is given; True for as_function


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes
    ----------
    title : str
        The text of the progress bar.
    cases : tuple of str
        The names of the cases.
    judge : callable
        ``judge(case, seed)`` tests a case and returns a record.
    """

    title: str
    cases: tuple[str, ...]
    judge: Callable[[str, int], Record]


def collect(parts: Iterable[str], every: int, seed: int, file: Path | None, right: int = RIGHT) -> tuple[Records, bool]:
    """Test every ``every``-th case of some parts, except those in the file, and append each record to the file.

    Of the right gradients, only the first ``right`` are tested.

    Returns
    -------
    records : dict
        All records, including those of the file, by "part: case".
    finished : bool
        False if Ctrl-C ended the run.
    """
    records = _read(file)
    try:
        for part in parts:
            cases = PARTS[part].cases[: right if part == "right" else None : every]
            cases = tuple(case for case in cases if f"{part}: {case}" not in records)
            with progress_bar(PARTS[part].title, len(cases)) as report:
                for done, case in enumerate(cases, start=1):
                    records[f"{part}: {case}"] = record = _quietly(PARTS[part].judge, case, seed)
                    _append(file, f"{part}: {case}", record)
                    report(done, case)
    except KeyboardInterrupt:
        return records, False
    return records, True


def _quietly(judge: Callable[[str, int], Record], case: str, seed: int) -> Record:
    """Return a record without warnings, such as those of divisions by zero in wrong or saturated programs."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return judge(case, seed)


def _read(file: Path | None) -> Records:
    if file is None or not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]  # the last may be cut
    return {line.pop("key"): line for line in lines}


def _append(file: Path | None, key: str, record: Record) -> None:
    if file is not None:
        with file.open("a") as stream:
            stream.write(json.dumps({"key": key, **record}) + "\n")


# ---- testing one case ----------------------------------------------------------------------------------------------


def judge_zoo(case: str, seed: int) -> Record:
    """Test a bug of the zoo with the whole catalogue, without each family that names it, and without the catalogue."""
    bug = ZOO[case]
    detected, checking = seconds_of(claims.of_zoo_bug(bug, seed).is_accused)
    with recorded() as names:
        diagnosis, seconds = seconds_of(claims.of_zoo_bug(bug, seed).diagnose)
    said = [explanation.name for explanation in diagnosis.explanations]
    families = [family for family in FAMILIES if names[family] & set(said)]
    whole = {"verdict": diagnosis.verdict, "said": said, "seconds": seconds}
    where = places(diagnosis)

    def without(*families: str) -> Record:
        with switched_off(*families):
            other = claims.of_zoo_bug(bug, seed).diagnose()
        said = [explanation.name for explanation in other.explanations]
        together = any(one & another for one in where for another in places(other))
        return {"verdict": other.verdict, "said": said, "same_place": together}

    return {
        **whole,
        "rare": bug in RARE,
        "expected": bug.expected,
        "detected": detected,
        "checking": checking,
        "without": {family: without(family) for family in families} | ({"all": without(*FAMILIES)} if families else {}),
    }


def judge_mistake(case: str, seed: int) -> Record:
    """Test a mistake of one of the sets, given as a function of (parameters, X, y) or as arrays."""
    name, form = case.split(", as ")
    claim = claims.of_public_bug(MISTAKES[name], FORMS[form])
    detected, checking = seconds_of(claim.is_accused)
    diagnosis, seconds = seconds_of(claim.diagnose)
    return {**outcome(MISTAKES[name], diagnosis), "detected": detected, "checking": checking, "seconds": seconds}


def judge_example(case: str, seed: int) -> Record:
    """Test a mistake in a function that is given with its terms."""
    name, mistake = case.split(", ", 1)
    example = EXAMPLES[name]()
    diagnosis, seconds = seconds_of(lambda: example.diagnose(mistake))
    said = [explanation.name for explanation in diagnosis.explanations]
    pattern = example.mistakes[mistake][1]
    named = any(re.search(pattern, name.lower()) for name in said)
    return {"verdict": diagnosis.verdict, "said": said, "named": named, "seconds": seconds}


def judge_right(case: str, seed: int) -> Record:
    """Test a right gradient, which neither check_gradient nor diagnose_gradient may call wrong."""
    kind, description, claim = right_gradient(int(case) + RIGHT * seed)
    accused, checking = seconds_of(claim.is_accused)
    diagnosis, seconds = seconds_of(claim.diagnose)
    return {
        "kind": kind,
        "description": description,
        "by_check": accused,
        "verdict": diagnosis.verdict,
        "checking": checking,
        "seconds": seconds,
    }


def judge_with_peers(case: str, seed: int) -> Record:
    """Test a claimed gradient with the gradient checks of other libraries."""
    kind, name = case.split(": ", 1)
    answers: Record = {"wrong": kind != "right", "dtype": ""}
    for peer in PEERS:
        claim = _claim(kind, name, seed)
        answers["dtype"] = np.dtype(claim.dtype).name
        accused, seconds = seconds_of(lambda peer=peer, claim=claim: accused_by(peer, claim))
        answers[peer] = {"accused": accused, "seconds": seconds}
    return answers


def _claim(kind: str, name: str, seed: int) -> Claim:
    if kind == "right":
        return right_gradient(int(name) + RIGHT * seed)[2]
    return claims.of_zoo_bug(ZOO[name], seed) if kind == "zoo" else claims.of_public_bug(MISTAKES[name])


def _in_both_forms(bugs: Sequence[Bug]) -> tuple[str, ...]:
    return tuple(f"{bug.name}, as {form}" for form in FORMS for bug in bugs)


PARTS = {
    "zoo": Part("zoo", tuple(ZOO), judge_zoo),
    **{part: Part(f"{kind} mistakes", _in_both_forms(bugs), judge_mistake) for part, (kind, bugs) in SETS.items()},
    "examples": Part(
        "functions with terms",
        tuple(f"{name}, {mistake}" for name, build in EXAMPLES.items() for mistake in build().mistakes),
        judge_example,
    ),
    "right": Part("right gradients", tuple(map(str, range(RIGHT))), judge_right),
    "peers": Part(
        "other libraries",
        (
            *(f"zoo: {name}" for name in ZOO),
            *(f"public: {bug.name}" for bug in PUBLIC),
            *(f"right: {i}" for i in range(0, RIGHT, SHARED)),
        ),
        judge_with_peers,
    ),
}
