"""Quick forms of the trials behind docs/reliability.md, and the page itself."""

from __future__ import annotations

import json

import pytest

from benchmarks.reliability import __main__ as command
from benchmarks.reliability import trials


@pytest.mark.parametrize(
    ("attempt", "count"),
    [(trials.predictions, 2000), (trials.fits, 1), (trials.disks, 6), (trials.resumes, 2), (trials.steps, 4000)],
)
def test_trials_do_not_fail(attempt, count):
    done, failed = attempt(count)
    assert done >= count and failed == 0


def test_the_page_is_that_of_the_counts():
    assert command.PAGE.read_text() == command.page(json.loads(command.RESULTS.read_text()))
