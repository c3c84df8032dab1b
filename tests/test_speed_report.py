"""What the speed benchmarks make of their measurements: targets, report, pages."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.speed import pages, report, targets
from benchmarks.speed.sides import CALLS, COMPILED, FLOOR, OURS

# ---- the targets -----------------------------------------------------------------------------------------------------


def cell(title="step, SGD: 3-4-2, batch 1", seconds=None, **changes):
    usual = {"title": title, "kind": "step", "sizes": [3, 4, 2], "batch": 1, "optimizer": "SGD", "parameters": 26,
             "grid": True, "errors": {}, "seconds": seconds}  # fmt: skip
    return usual | changes


def judged(*cells, **memory):
    found = targets.judge({"cells": {one["title"]: one for one in cells}, "memory": memory})
    return {target.text: target for target in found}


def test_targets_of_both_columns_are_judged_apart():
    seconds = {OURS: [5.0, 5.0, 9.0], COMPILED: [1.0, 2.0, 9.0], CALLS: [3.0], "JAX": [10.0, 10.0, 1.0], "torch": [3.6]}
    verdicts = judged(cell(seconds=seconds))
    fifth = verdicts["compiled: a step of 3-4-2, batch 1, at least 5 x JAX"]
    assert (fifth.measured, fifth.met) == ("5.00", True)
    median = verdicts["compiled: median step at least 1.8 x torch"]
    assert (median.measured, median.met) == ("1.80 over 1 cells", True)
    calls = verdicts["NumPy code: steps of 3-4-2 at 0.60 or more of its bare calls' speed"]
    assert (calls.measured, calls.met) == ("0.60", True)
    assert verdicts["compiled: every step ahead of scikit-learn"].met is None


def test_one_cell_behind_misses_a_target_for_every_cell():
    ahead = cell(seconds={COMPILED: [1.0], "torch": [2.0], "JAX": [2.0], FLOOR: [0.5]})
    behind = cell("other", seconds={COMPILED: [1.0], "torch": [0.95], "JAX": [0.95]})
    everywhere, most = "compiled: every step ahead of torch", "compiled: ahead of JAX in at least 90 % of the steps"
    assert judged(ahead)[everywhere].met and judged(ahead)[most].met
    assert judged(ahead, behind)[everywhere].measured == "0.95 (other)"
    assert judged(ahead, behind)[most].measured == "1 of 2 cells"
    assert not judged(ahead, behind)[everywhere].met and not judged(ahead, behind)[most].met
    assert judged(ahead, behind)["compiled: no step below 0.90 of JAX's speed"].met
    assert "In 1 of 2 cells" in report._behind_text([ahead, behind], [behind])


def test_target_that_the_products_forbid_is_marked():
    forbidden = cell(seconds={COMPILED: [2.0], FLOOR: [1.5, 1.25], "torch": [1.0]})
    possible = cell("other", seconds={COMPILED: [2.0], FLOOR: [0.5], "torch": [1.0]})
    target = judged(forbidden)["compiled: every step ahead of torch"]
    assert target.forbidden == f"NumPy's matrix products alone reach 0.80 ({forbidden['title']})"
    assert judged(possible)["compiled: every step ahead of torch"].forbidden == ""
    rows = [targets.Target("a", "1", False, "b"), targets.Target("c", "2", False), targets.Target("d", "3", True)]
    assert [row[-1] for row in report._target_rows(rows)] == ["no: b", "no", "yes"]
    assert targets.count_met(rows) == "1 of 3 targets met; 1 of the 2 missed are out of reach"
    assert targets.count_met(rows[1:]) == "1 of 2 targets met"


def test_fastest_round_of_a_part_of_the_work_counts():
    one = cell(seconds={OURS: [2.0, 3.0, 2.0], COMPILED: [1.0], CALLS: [9.0, 1.0, 9.0], FLOOR: [8.0, 0.5, 8.0]})
    assert (targets.share(one, CALLS), targets.share(one, FLOOR, COMPILED)) == (0.5, 0.5)
    assert targets.share(one, "torch") is None


def test_starts_and_calls_are_judged():
    starts = {COMPILED: [7.0, 9.0, 8.0], f"{COMPILED}, cached": [0.4, 0.6, 0.6]}
    verdicts = judged(**{"first step": starts, "call": {"step": 2.4e-6, "empty": 0.5e-6}})
    assert verdicts["compiled: first step within 8.0 s"].met
    assert not verdicts["compiled: first step within 0.5 s, from the cache"].met
    assert verdicts["compiled: a step of 3-4-2 at most 2 us above an empty call"].measured == "1.90 us"


def test_memory_is_judged_by_its_bounds():
    step = {"kept": 10, "peak": 11, "bound": 10, "temporary": 0}
    found = {"steps": {"relu": step}, "resident": {"handmade": 1, "torch": 2}, "memmap": (1e10, 6e8), "import": [1.31]}
    verdicts = judged(**found)
    met = {text[:20]: target.met for text, target in verdicts.items() if target.met is not None}
    assert met == {"after the first step": True, "peak at most paramet": False, "at most half of torc": True,
                   "fit on a memmap of 1": False, "import handmade with": False}  # fmt: skip


def results(cells, **changes):
    usual = {"machine": {"cores": 2, "kernel": "SkylakeX", "better kernel": None}, "quick": False, "missing": {},
             "load": 0.1, "memory": {}, "cells": {one["title"]: one for one in cells}}  # fmt: skip
    return usual | changes


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"load": 1.5}, "load of 1.5 on 2 cores"),
        ({"machine": {"cores": 1, "kernel": "X", "better kernel": None}}, "one core"),
        ({"machine": {"cores": 2, "kernel": "Haswell", "better kernel": "X"}}, "kernel is Haswell"),
        ({"cells": {"a": cell("a", {OURS: [1.0, 2.0, 1.0]})}}, "In 1 of 1 cells handmade's own rounds differ by more"),
        ({"environment": {"MKL_NUM_THREADS": "1"}}, "MKL_NUM_THREADS=1 is set: not every side has the threads"),
    ],
)
def test_a_doubtful_run_says_why(changes, doubt):
    sure = results([cell("a", {OURS: [1.0, 1.1, 1.2]})])
    assert report._doubts(sure) == []
    (section,) = report._doubts(sure | changes)
    assert section.title == "Caveats" and doubt in section.text


def test_cells_behind_come_first_with_the_worst_on_top(tmp_path):
    times = {OURS: [2.0], COMPILED: [1.0]}
    cells = [cell(name, times | {"JAX": [time]}) for name, time in (("a", 0.9), ("b", 0.5), ("c", 2.0))]
    report.write(results(cells), tmp_path)
    text = (tmp_path / "report.md").read_text()
    section = text.partition("## Where the compiled code is behind")[2].partition("\n## ")[0]
    assert "In 2 of 3 cells some library is faster" in section
    assert section.index("| b |") < section.index("| a |") and "| c |" not in section
    assert "| b | 2 s | 1 s | 0.25; 0.50 |" in section
    report.write(results(cells[2:]), tmp_path)
    assert "In 0 of 1 cells some library is faster" in (tmp_path / "report.md").read_text()


# ---- the pages -------------------------------------------------------------------------------------------------------


def test_tables_of_a_run_go_between_their_comments():
    one = cell("step", {OURS: [2.0], COMPILED: [1.0], "torch": [3.0]})
    page = "before\n<!-- speed: headline -->\nold\n<!-- end -->\nafter\n"
    filled = pages.fill(page, results([one]))
    assert "| A training step with SGD, 1 sizes | 1.50; 3.00 |" in filled and "old" not in filled
    assert filled.startswith("before\n") and filled.endswith("\nafter\n")
    assert pages.fill(filled, results([one])) == filled


def test_pages_have_the_tables_of_the_last_full_run():
    if not pages.RESULTS.exists():
        pytest.skip("no full run has been written: python -m benchmarks.speed --write")
    measured = json.loads(pages.RESULTS.read_text())
    for path in pages.PAGES:
        assert pages.fill(path.read_text(), measured) == path.read_text(), path


def test_blocks_of_the_pages_have_a_table():
    blocks = [name for path in pages.PAGES for name in re.findall(r"<!-- speed: (\w+) -->", path.read_text())]
    assert set(blocks) == set(pages.BLOCKS)
