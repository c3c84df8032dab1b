"""Mutation testing itself: each kind of change is made, and planted mutants are killed in a campaign."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.campaign import Equivalents, sampled
from tests.mutation.mutants import find_mutants

ROOT = Path(__file__).parents[1]


def mutants_of(code: str):
    return find_mutants(ast.parse(code))


@pytest.mark.parametrize(
    "code, after",
    [
        ("x = 1", "x = 2"),
        ("x = 'a'", "x = 'A'"),
        ("x = True", "x = False"),
        ("x = a + b", "x = a - b"),
        ("x = a < b", "x = a <= b"),
        ("x = a and b", "x = a or b"),
        ("x = not a", "x = a"),
        ("x = -a", "x = a"),
        ("x = a @ b", "x = b @ a"),
        ("x = a", "x = None"),
        ("x: int = a", "x: int = None"),
        ("f(a, b)", "f(b, a)"),
        ("f(a, b)", "f(a)"),
        ("f(a, b=c)", "f(a, b=None)"),
        ("f(a)", "pass"),
        ("x = a.copy()", "x = a"),
        ("x = copy.deepcopy(a)", "x = a"),
        ("x = np.array(a)", "x = np.asarray(a)"),
        ("x = a.T", "x = a"),
        ("x = a.sum(axis=0)", "x = a.sum(axis=1)"),
        ("x = a.sum(axis=-1)", "x = a.sum(axis=0)"),
        ("x = a.min()", "x = a.max()"),
        ("x[...] = a", "x = a"),
        ("layer.W[:] = a", "layer.W = a"),
        ("def f(x):\n x += a", "x = x + a"),
        ("x += a", "x = a"),
        ("if a:\n raise ValueError", "if False:"),
        ("while a:\n break", "return"),
        ("x = lambda: a", "x = lambda: None"),
        ("@property\ndef f(self):\n return 1", "return 2"),
        ("@dataclass\nclass A:\n x: float = 0.5", "x: float = 1.5"),
        ("def f(x=1): pass", "x=2"),
        ("match a:\n case 1: pass\n case b: pass", "match a: case 1:"),
    ],
)
def test_a_mutant_of_each_kind_is_made(code, after):
    assert after in [mutant.after for mutant in mutants_of(code)]


@pytest.mark.parametrize(
    "code",
    [
        "'a docstring'",
        "raise ValueError(f'{x}: expected {1 + 1}')",
        "assert isinstance(x, int)",
        "from math import pi",
        "if TYPE_CHECKING:\n x = 1",
        "__all__ = ['f']",
        "Array = npt.NDArray[Any]",
        "Name = Literal['a', 'b']",
        "Pair = tuple[int, float]",
        "Shapes = Mapping[str, tuple[int, ...]]",
        "Anything = Any",
        "def f(x: Literal[1]) -> Literal[2]: ...",
    ],
)
def test_text_and_types_are_not_mutated(code):
    assert mutants_of(code) == []


def test_a_name_does_not_depend_on_line_or_format():
    one = mutants_of("def f(x):\n    return x+1, [\n        'a', x]\n")
    other = mutants_of("import os\n\n\ndef g(): pass\n\n\ndef f(x):\n    # text\n    return (x + 1, ['a', x])\n")
    assert [m.name for m in one] == [m.name for m in other] == [
        "f: return (x + 1, ['a', x]) => return (x - 1, ['a', x])",
        "f: return (x + 1, ['a', x]) => return (x + 2, ['a', x])",
        "f: return (x + 1, ['a', x]) => return (x + 1, ['A', x])",
    ]  # fmt: skip


def test_names_of_identical_changes_are_numbered():
    names = [mutant.name for mutant in mutants_of("def f(x):\n x[0] = a\n x[0] = a\n")]
    assert len(set(names)) == len(names)
    assert "f: x[0] = a => x[1] = a #2" in names


def test_every_edit_can_be_undone():
    tree = ast.parse((ROOT / "handmade" / "information.py").read_text())
    before = ast.dump(tree)
    for mutant in find_mutants(tree):
        undo = mutant.edit.apply()
        assert ast.dump(tree) != before, mutant.name
        undo.apply()
    assert ast.dump(tree) == before


def test_a_sample_hardly_changes_with_the_module():
    code = "".join(f"def f{i}(x):\n return x + {i}\n" for i in range(100))
    one, other = (sampled(mutants_of(code + more), 50) for more in ("", "def g(x):\n return x + 1\n"))
    assert len(one) == len(other) == 50
    assert len({m.name for m in one} & {m.name for m in other}) >= 48


def test_every_equivalent_has_a_name_and_a_reason():
    # That each still is a mutant, the command says, so that a change of the code does not fail here.
    for name, why in Equivalents().why.items():
        assert re.fullmatch(r"\S+: .+ => .+", name), name
        assert len(why) > 10, name


# ---- campaigns -------------------------------------------------------------------------------------------------------

CAMPAIGN = """
import json, sys
from pathlib import Path
from tests.mutation.campaign import Equivalents, Module, run_module, score
root, work, module, test, equivalent = map(Path, sys.argv[1:])
sample = None if module.stem == "toy" else 12
outcomes = run_module(Module(module, [test], sample), work, 2, root, show=False)
equivalents = Equivalents(equivalent)
row, survivors, refuted = score("", outcomes, equivalents)
names = [[mutant.name for mutant in mutants] for mutants in (survivors, refuted)]
print(json.dumps([{mutant.name: status for mutant, status in outcomes}, row, *names]))
"""

TOY = """
import functools
LIMIT = 10
def positive(name):
    def check(x):
        if x <= 0:
            raise ValueError(name)
        return x
    return check
check_size = positive("size")
def total(x):
    result = x * LIMIT
    while result > LIMIT * LIMIT:
        result -= 1
    return max(result, 0 * x)
class Box:
    @property
    def size(self):
        return check_size(2) + 1
def double(x):
    return 2 * x
@functools.cache
def table(x):
    return x + 4
def untested(x):
    return x + 1
"""

OTHER = "class Other:\n    def method(self): return 1\ndef {name}(x): return x\n"

TOY_TESTS = """
import pytest, sys
from toy import toy
def test_total():
    assert toy.total(2) == 20
def test_total_is_limited():
    assert toy.total(10.5) == 100
def test_box():
    assert toy.Box().size == 3
def test_check():
    with pytest.raises(ValueError, match="size"):
        toy.check_size(0)
    toy.check_size(1)
def test_double():
    sys.setprofile(None)
    assert toy.double(2) == 4
def test_that_fills_a_cache():
    toy.table(2)
def test_cached():
    assert toy.table(2) == 6
"""


def campaign(root: Path, *arguments: Path):
    command = [sys.executable, "-c", CAMPAIGN, str(root), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(ROOT)])}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Return the arguments of a campaign on a small package, and its results."""
    tmp_path = tmp_path_factory.mktemp("toy")
    for name in "toy", "tests":
        (tmp_path / name).mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    (tmp_path / "toy" / "toy.py").write_text(f"from .other import *\n{TOY}")
    (tmp_path / "toy" / "other.py").write_text(OTHER.format(name="one"))
    (tmp_path / "tests" / "test_toy.py").write_text(TOY_TESTS)
    (tmp_path / "equivalent.toml").write_text(
        '[[equivalent]]\nwhy = "x is at least 0."\n'
        'mutants = ["t*: return max(result, 0 * x) => return max(result, 0 / x)", "total: LIMIT = 10 => LIMIT = 11"]\n'
    )
    arguments = [
        tmp_path,
        *(tmp_path / name for name in ("work", "toy/toy.py", "tests/test_toy.py", "equivalent.toml")),
    ]
    return arguments, campaign(*arguments)


def test_a_campaign_tells_killed_equivalent_and_survived(toy):
    statuses, row, survivors, refuted = toy[1]
    assert statuses["<module>: LIMIT = 10 => LIMIT = 11"] == "killed", "a constant"
    assert statuses["Box.size: return check_size(2) + 1 => return check_size(2) + 2"] == "killed", "a property"
    assert statuses["positive.check: if x <= 0: => if False:"] == "killed", "a guard of a function made at import"
    assert statuses["<module>: check_size = positive('size') => check_size = None"] == "killed"
    assert statuses["double: return 2 * x => return 3 * x"] == "killed", "in a test that ends a profile"
    assert statuses["table: return x + 4 => return x + 5"] == "killed", "a function whose result is in a cache already"
    assert statuses["total: result -= 1 => result += 1"] == "timeout", "a loop that does not end"
    assert survivors == [
        "total: return max(result, 0 * x) => return max(result, 1 * x)",
        "untested: return x + 1 => return x - 1",
        "untested: return x + 1 => return x + 2",
    ]
    assert row[3] == 1, "one equivalent"
    assert refuted == []


def test_results_are_kept_until_the_code_changes(toy):
    _, work, module, test, _ = toy[0]
    (results,) = work.glob("*.jsonl")
    lines = len(results.read_text().splitlines())
    campaign(*toy[0])
    assert len(results.read_text().splitlines()) == lines, "nothing is run again"
    (module.parent / "other.py").write_text(OTHER.format(name="two"))
    campaign(*toy[0])
    assert len(results.read_text().splitlines()) == lines, "no test calls a function of the other file"
    module.write_text(module.read_text().replace("x + 1", "x + 3"))
    test.write_text(test.read_text() + "def test_more():\n    assert toy.untested(1) == 4\n")
    statuses, *_ = campaign(*toy[0])
    assert statuses["untested: return x + 3 => return x - 3"] == "killed"
    added = [json.loads(line)[0].split(":")[0] for line in results.read_text().splitlines()[lines:]]
    assert set(added) == {"untested", "total"}, "the changed function, and what had survived"


def test_a_sample_of_the_package_is_killed(tmp_path):
    (tmp_path / "none.toml").touch()
    module, test = ROOT / "handmade" / "information.py", ROOT / "tests" / "test_information.py"
    _, row, *_ = campaign(ROOT, tmp_path, module, test, tmp_path / "none.toml")
    assert row[1] == 12
    assert row[2] >= 11, "killed"
