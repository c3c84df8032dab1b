"""A table of people, the command that trains on it, and a folder of models."""

from __future__ import annotations

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
testing = pytest.importorskip("typer.testing")


from handmade.commands import cli, tables  # noqa: E402


def run(*arguments, code: int = 0) -> testing.Result:
    result = testing.CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def people(count: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 10, count), rng.normal(3, 1, count)
    city, member = rng.choice(["Rome", "Oslo", "Lima"], count), rng.random(count) < 0.5
    buys = np.where(age + 8 * (city == "Rome") + 3 * income > 52, "yes", "no")
    frame = pd.DataFrame({"id": [f"u{i}" for i in range(count)], "age": age, "city": city, "member": member})
    frame = frame.assign(income=income, planet="Earth", spent=2 * age + 30 * (city == "Oslo"), buys=buys)
    frame.loc[::17, "age"] = np.nan
    frame.loc[::23, "city"] = None
    frame.loc[::29, "buys"] = None
    return frame


def trained_folder(folder):
    """Fill a folder with data.csv, and a classifier and a regressor trained on it."""
    people().to_csv(folder / "data.csv", index=False)
    for target, name in (("buys", "c.safetensors"), ("spent", "r.npz")):
        options = ["--target", target, "-o", folder / name, "--hidden", "16", "--quiet", "--lr", "0.01"]
        run("train", folder / "data.csv", *options)
    return folder


def table(folder, name):
    """Return the file as the commands read it: cells of text."""
    return tables.read_table(folder / name)[0]


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table that a file of this frame holds."""
    text = frame.astype(object).map(lambda value: None if pd.isna(value) else str(value)).astype(object)
    return text.where(text.notna(), None)


def csv(folder, frame: pd.DataFrame):
    frame.to_csv(folder / "wrong.csv", index=False)
    return folder / "wrong.csv"
