"""The tables of a run in Markdown, as in docs/bugs.md."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .campaign import SETS, Record, Records
from .families import FAMILIES
from .peers import PEERS
from .right_gradients import KINDS

__all__ = ["is_met", "tables", "write_into"]

BEGIN, END = "<!-- begin of what the command writes -->", "<!-- end of what the command writes -->"
JUDGES = ("detected", "step right", "explained", "misleading", "unknown", "median s", "largest s")


def of_part(records: Records, part: str) -> dict[str, Record]:
    """Return the records of a part, by case."""
    return {key.split(": ", 1)[1]: record for key, record in records.items() if key.startswith(part + ": ")}


def is_named(record: Record) -> bool:
    """Return whether the diagnosis of a bug of the zoo has one of the expected names."""
    return bool(set(record["said"]) & set(record["expected"]))


def is_accused(record: Record) -> bool:
    """Return whether the diagnosis calls a right gradient wrong."""
    return record["verdict"] not in ("right", "undecided")


def is_met(records: Records) -> list[str]:
    """Return the targets that a run misses, as text: bugs not detected or named, right gradients called wrong."""
    zoo, right = of_part(records, "zoo"), of_part(records, "right")
    mistakes = {name: r for part in SETS for name, r in of_part(records, part).items()}
    old = [r for r in zoo.values() if not r["rare"]]
    missed = [f"not detected: {name}" for name, r in {**zoo, **mistakes}.items() if not r["detected"]]
    if sum(map(is_named, old)) < 0.95 * len(old):
        missed.append(f"named in the zoo: {sum(map(is_named, old))} of {len(old)}")
    for record in right.values():
        if record["by_check"] or is_accused(record):
            judge = (
                "both" if record["by_check"] and is_accused(record) else "check" if record["by_check"] else "diagnosis"
            )
            missed.append(f"accused by {judge} ({record['kind']}): {record['description']}")
    return missed


# ---- tables --------------------------------------------------------------------------------------------------------


def tables(records: Records, seed: int) -> str:
    """Return all tables, each with a heading, followed by the processor and the versions."""
    sets = {kind: of_part(records, part) for part, (kind, _) in SETS.items()}
    makers = {
        "zoo": _of_zoo,
        "examples": _of_examples,
        "right": _of_right,
        "peers": _of_peers,
    }
    made = [_of_sets(sets)] if any(sets.values()) else []
    made += [make(found) for part, make in makers.items() if (found := of_part(records, part))]
    return "\n\n".join([*made, _made_on(seed)])


def _of_sets(sets: dict[str, dict[str, Record]]) -> str:
    rows, words = [], ['"Explained" counts the words that were written down before any diagnosis ran.']
    for kind, records in sets.items():
        for form, given_as in (("function", "a function of (parameters, X, y)"), ("arrays", "arrays of one batch")):
            of_form = [r for case, r in records.items() if case.endswith(f", as {form}")]
            if of_form:
                rows.append([f"{len(of_form)} {kind}, as {given_as}", *_judged(of_form)])
        words += [_of_other_words(kind, records.values())] if records else []
    title = "## Published, held-out and mended mistakes"
    return f"{title}\n\n{_table(['mistakes', *JUDGES], rows)}\n\n{_folded(' '.join(words))}"


def _of_other_words(kind: str, records: Iterable[Record]) -> str:
    other = [r["reading"] for r in records if r["reading"]]
    same, true, false, unread = (other.count(meaning) for meaning in ("same", "true", "false", "unread"))
    return (
        f"Explanations of {kind} mistakes in other words: {len(other)}. Read afterwards, {same} of them say the same, "
        f"{true} are true but do not name the cause, {false} are false (counted as misleading); {unread} were not read."
    )


def _judged(records: Sequence[Record]) -> list[str]:
    count = len(records)
    seconds = [r["seconds"] for r in records]
    unknown = sum(r["verdict"] == "unknown" for r in records)
    detected, right, explained, misleading = (
        sum(bool(r[key]) for r in records) for key in ("detected", "step_right", "explained", "misleading")
    )
    shares = [_share(n, count) for n in (detected, right, explained, misleading, unknown)]
    return [*shares, f"{median(seconds):.2f}", f"{max(seconds):.1f}"]


def _of_zoo(records: dict[str, Record]) -> str:
    rows = []
    for rare, kind in ((False, "bugs that the catalogue was built with"), (True, "rarer bugs, written after it")):
        found = [r for r in records.values() if r["rare"] == rare]
        if found:
            named, none = sum(map(is_named, found)), sum(not r["said"] for r in found)
            detected = sum(r["detected"] for r in found)
            rows.append([kind, len(found), detected, named, len(found) - named - none, none])
    first = _table(["the zoo", "shown", "detected", "named", "explained in other words", "not explained"], rows)
    rows = []
    for family in (*FAMILIES, "all"):
        without = [r["without"][family] for r in records.values() if family in r["without"]]
        if without:
            rows.append([family if family != "all" else "**all of them**", len(without), *_alone(without)])
    titles = ["family switched off", "bugs it names", "named otherwise", "located", "unknown", "other place"]
    return f"## The zoo, with and without its catalogue\n\n{first}\n\n{_table(titles, rows)}"


def _alone(records: Sequence[Record]) -> list[int]:
    """Return the numbers of those named, located and unknown, and of those at other places than with the catalogue."""
    lost = [r for r in records if r["verdict"] in ("named", "located") and not r["same_place"]]
    kept = [r for r in records if r not in lost]
    return [*(sum(r["verdict"] == v for r in kept) for v in ("named", "located", "unknown")), len(lost)]


def _of_examples(records: dict[str, Record]) -> str:
    rows = []
    for case, record in records.items():
        name, mistake = case.split(", ", 1)
        said = record["said"][0] if record["said"] else record["verdict"]
        rows.append([name, mistake, said, "yes" if record["named"] else "no"])
    named = sum(r["named"] for r in records.values())
    titles = ["function", "mistake", "what is said", "right"]
    return f"## Functions with terms\n\n{named} of {len(rows)} are explained:\n\n{_table(titles, rows)}"


def _of_right(records: dict[str, Record]) -> str:
    rows = []
    for kind in (*KINDS, "all"):
        found = [r for r in records.values() if kind in (r["kind"], "all")]
        if found:
            by_check, by_diagnosis = sum(r["by_check"] for r in found), sum(map(is_accused, found))
            against = sum(r["by_check"] != is_accused(r) for r in found)
            undecided = sum(r["verdict"] == "undecided" for r in found)
            rows.append(
                [f"**{kind}**" if kind == "all" else kind, len(found), by_check, by_diagnosis, against, undecided]
            )
    titles = ["right gradients", "shown", "accused by check", "by diagnosis", "contradictions", "undecided"]
    return f"## Right gradients\n\n{_table(titles, rows)}"


def _of_peers(records: dict[str, Record]) -> str:
    wrong = [r for r in records.values() if r["wrong"]]
    right = [r for r in records.values() if not r["wrong"]]
    doubles, singles = ([r for r in right if r["dtype"] == dtype] for dtype in ("float64", "float32"))
    rows = []
    for peer in PEERS:

        def accused(of: Iterable[Record], peer: str = peer) -> int:
            return sum(r[peer]["accused"] for r in of)

        seconds = sum(r[peer]["seconds"] for r in records.values()) / len(records)
        shares = [f"{accused(of)} of {len(of)}" for of in (wrong, doubles, singles)]
        rows.append([f"`{peer}`", *shares, f"{1000 * seconds:.0f}"])
    titles = ["", "wrong ones detected", "right ones accused, float64", "float32", "ms each"]
    return f"## Other libraries on the same gradients\n\n{_table(titles, rows)}"


def _made_on(seed: int) -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "torch", "jax")]
    text = (
        f"Times are processor seconds on {_processor()}, one thread. Python {platform.python_version()}, "
        f"{', '.join(versions)}, seed {seed}."
    )
    return _folded(text)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _share(n: int, count: int) -> str:
    return f"{n} ({100 * n / count:.0f} %)"


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def _folded(text: str, width: int = 120) -> str:
    lines = [""]
    for word in text.split():
        lines[-1:] = [f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [lines[-1], word]
    return "\n".join(lines)


def write_into(page: Path, text: str) -> None:
    """Write the tables into a page, between its two marks.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: expected the marks {BEGIN!r} and {END!r}; add them where the tables belong")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
