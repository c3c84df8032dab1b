"""The pytest plugin: the fixtures ``grade`` and ``student``, the option ``--student``, and a summary of the grades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .grades import Grade
from .submissions import Submission, find_submissions, grade

__all__ = ["pytest_addoption", "pytest_configure", "pytest_generate_tests", "pytest_terminal_summary"]


def pytest_addoption(parser: Any) -> None:
    """Add the option."""
    text = "a submission, or a folder of them; may be repeated"
    parser.getgroup("handmade").addoption("--student", action="append", metavar="FILE", help=text)


def pytest_configure(config: Any) -> None:
    """Add the fixtures; raise if ``--student`` names no submission, before any test is collected."""
    config.pluginmanager.register(_fixtures())
    _submissions(config)


def _submissions(config: Any) -> list[Submission]:
    """Return the submissions that ``--student`` names."""
    import pytest  # only here, and for the fixtures

    try:
        return find_submissions(given)[0] if (given := config.getoption("student")) else []
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"--student={error}") from None


def _fixtures() -> Any:
    import pytest

    class Fixtures:
        @pytest.fixture(name="grade")
        def recorded(self, request: Any) -> Callable[..., Grade]:
            """Return `handmade.grading.grade`; its outcome is shown where a test fails, and in the summary."""

            def grade_and_record(*arguments: Any, **options: Any) -> Grade:
                result = grade(*arguments, **options)
                request.node.add_report_section("call", "grade", str(result))
                request.node.user_properties.append(("grade", str(result)))
                return result

            return grade_and_record

        @pytest.fixture
        def student(self) -> Path:
            """Return each submission that ``--student`` names."""
            pytest.fail("student: expected pytest --student=FILE, the file to grade", pytrace=False)

    return Fixtures()


def pytest_generate_tests(metafunc: Any) -> None:
    """Run a test that asks for a student once for each."""
    submissions = _submissions(metafunc.config) if "student" in metafunc.fixturenames else []
    if submissions:
        metafunc.parametrize("student", [s.path for s in submissions], ids=[s.student for s in submissions])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the grades."""
    reports = [report for several in terminalreporter.stats.values() for report in several]
    ended = [report for report in reports if getattr(report, "when", None) == "teardown"]  # once per test
    grades = [text for report in ended for key, text in report.user_properties if key == "grade"]
    if grades:
        terminalreporter.section("grades")
        terminalreporter.line("\n".join(grades))
