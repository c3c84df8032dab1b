"""Progress: silence on request, plain lines outside a terminal, a bar of rich in one."""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest
import rich.progress

from handmade import MLP, check_gradient, fit
from handmade.progress import progress_bar

X, y = np.random.default_rng(0).normal(size=(8, 3)), [0, 1] * 4


class Terminal(io.StringIO):
    """A stderr that claims to be a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No variable of the machine decides how rich draws."""
    for name in "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "JUPYTER_COLUMNS":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def without_rich(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)  # what Python takes for a package that cannot be imported


def count(total, enabled=True, title="counting"):
    with progress_bar(title, total, enabled) as report:
        for done in range(1, total + 1):
            report(done, f"at {done}")


WORK = {
    "bar": lambda shown: count(100, shown),
    "fit": lambda shown: fit(MLP([3, 2], rng=0), X, y, epochs=3, progress=shown),
    "check": lambda shown: check_gradient(MLP([3, 2], rng=0), X, y, progress=shown),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK.keys())
def test_disabled_progress_prints_nothing(work, capfd):
    work(False)
    with redirect_stderr(Terminal()) as terminal:
        work(False)
    assert terminal.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_by_default_training_reports_and_a_check_does_not(capfd):
    check_gradient(MLP([3, 2], rng=0), X, y)
    assert capfd.readouterr() == ("", "")
    fit(MLP([3, 2], rng=0), X, y, epochs=1)
    assert capfd.readouterr().err


@pytest.mark.parametrize("total", [1, 3, 19, 20, 21, 30, 100, 101, 12345])
def test_plain_lines_appear_outside_a_terminal(total, capfd):
    count(total)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert min(total, 11) <= len(lines) <= min(total, 21)  # the first, every so many, the last
    assert lines[0] == f"counting 1/{total}  at 1"
    assert lines[-1] == f"counting {total}/{total}  at {total}"
    done = [int(line.split()[1].split("/")[0]) for line in lines]
    assert lines == [f"counting {n}/{total}  at {n}" for n in done]
    gaps = np.diff([0, *done])
    assert gaps.min() >= 1
    assert gaps.max() <= np.ceil(total / 20)  # evenly: no stretch in the dark


def test_a_report_after_a_silence_is_printed(capfd, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("handmade.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    with progress_bar("waiting", 1000) as report:
        for done, clock.now in enumerate([1.0, 2.0, 10.9, 11.1, 12.0], 1):
            report(done)
    assert capfd.readouterr().err.split() == ["waiting", "1/1000", "waiting", "4/1000"]


@pytest.mark.parametrize(
    ("work", "first", "last"),
    [
        ("fit", "epoch 1/3  loss ", "epoch 3/3  loss "),
        ("check", "entries 6/8  0.weight", "entries 8/8  0.bias"),
    ],
)
def test_lines_of_training_and_checking_say_what_they_do(work, first, last, capfd):
    WORK[work](True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)


def test_training_that_ends_early_says_so_in_its_last_line(capfd):
    fit(MLP([3, 2], rng=0), X, y, epochs=9, validation=(X, y), callbacks=stop_after_two)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/9", "epoch 2/9", "epoch 2/9"]
    assert "validation" in lines[-2]
    assert lines[-1].endswith("interrupted")


def stop_after_two(network, history):
    if len(history) == 2:
        raise KeyboardInterrupt


def test_a_terminal_gets_a_bar(capfd):
    with redirect_stderr(Terminal()) as terminal:
        count(3)
    shown = terminal.getvalue()
    assert capfd.readouterr() == ("", "")
    assert "\x1b[" in shown  # drawn over and over in one place
    for expected in "counting", "3/3", "at 3":
        assert expected in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back


def test_no_bar_is_drawn_outside_a_terminal(monkeypatch, capfd):
    def refuse(*arguments, **options):
        raise AssertionError("a bar was drawn")

    monkeypatch.setattr(rich.progress.Progress, "__init__", refuse)
    count(3)
    assert len(capfd.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("news", ["loss [red] 1", "mean[/] 2", "[0, 1]"])
def test_the_bar_shows_brackets_in_news_literally(news):
    with redirect_stderr(Terminal()) as terminal, progress_bar("epoch", 1) as report:
        report(1, news)
    assert news in terminal.getvalue()


def test_without_rich_a_terminal_gets_lines(without_rich):
    with redirect_stderr(Terminal()) as terminal:
        count(3)
    assert terminal.getvalue().splitlines() == [f"counting {n}/3  at {n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_an_error_in_the_work_passes_through(stream):
    with (
        pytest.raises(ZeroDivisionError),
        redirect_stderr(stream()) as shown,
        progress_bar("counting", 3) as report,
    ):
        report(1, "one")
        raise ZeroDivisionError
    assert "one" in shown.getvalue()
    assert shown.getvalue().count("\x1b[?25l") == shown.getvalue().count("\x1b[?25h")  # no hidden cursor stays behind


@pytest.mark.parametrize("columns", [60, 120])
def test_only_the_news_shrink_in_a_full_line(columns, monkeypatch):
    """Title, 12 cells, count and time stand as they are, brackets and all; what is too long ends in an ellipsis."""
    monkeypatch.setenv("COLUMNS", str(columns))
    news = "loss [bold]0.5[/bold] " + "x" * 80
    with redirect_stderr(Terminal()) as terminal, progress_bar("[i]a title[/i]", 4) as report:
        report(2, news)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    last = text.rstrip("\n").replace("\r", "\n").splitlines()[-1]
    start = "[i]a title[/i] ━━━━━━╸━━━━━ 2/4 --:-- "
    assert len(last) == columns
    assert last.replace("╺", "╸").startswith(start)
    assert last[len(start) :] == news[: columns - len(start) - 1] + "…"


@pytest.mark.parametrize("columns", [40, 44])
def test_in_a_narrow_terminal_the_bar_shrinks(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    with redirect_stderr(Terminal()) as terminal, progress_bar("pairs of mistakes", 12345) as report:
        report(6172, "news")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.fullmatch(r"pairs of mistakes [━╸╺]{2,6}  6172/12345 --:-- …", text.strip().rpartition("\r")[2]), text


def test_ten_seconds_of_silence_are_the_limit(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("handmade.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    with redirect_stderr(io.StringIO()) as stderr, progress_bar("waiting", 1000) as report:
        for done, clock.now in enumerate([1.0, 10.5, 11.0], 1):
            report(done)
    assert stderr.getvalue().split() == ["waiting", "1/1000", "waiting", "3/1000"]


def test_a_line_is_flushed_at_once():
    written = []

    class Buffered(io.StringIO):
        def flush(self):
            written.append(self.getvalue())

    with redirect_stderr(Buffered()), progress_bar("counting", 2) as report:
        report(1, "at 1")
        assert written[-1] == "counting 1/2  at 1\n"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"total": -1}, ValueError, "total: expected an integer of at least 0, got -1"),
        ({"total": 2.5}, TypeError, r"total: expected an integer of at least 0, got 2\.5"),
        ({"enabled": "no"}, TypeError, "enabled: expected True or False, got 'no'"),
    ],
)
def test_progress_bar_names_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message), progress_bar(**({"title": "counting", "total": 3} | arguments)):
        pass


class Broken(io.StringIO):
    """A stderr whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("kind", ["none", "closed", "broken", "other"])
def test_without_a_usable_stderr_the_work_goes_on(kind, capsys):
    streams = {
        "none": None,
        "closed": io.StringIO(),
        "broken": Broken(),
        "other": SimpleNamespace(write=len, flush=int),
    }
    streams["closed"].close()
    with redirect_stderr(streams[kind]):
        assert len(fit(MLP([3, 2], rng=0), X, y, epochs=3).loss) == 3
        assert check_gradient(MLP([3, 2], rng=0), X, y, progress=True)
    assert capsys.readouterr().out == ""
