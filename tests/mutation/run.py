"""Mutation testing: change one thing in a function of `handmade`, and see whether a test notices.

    python tests/mutation/run.py                      every module
    python tests/mutation/run.py layers optimizers    these modules
    python tests/mutation/run.py --processes 4        on so many processors

Needs mutmut (`pip install mutmut==3.8.1`) beside the development dependencies. It works on copies of the project, one
per module, in a directory of its own (`--work`); Ctrl-C stops it, and the same command goes on where it stopped.
Where a function has changed since, its mutants are run again; where a test has, those that had survived without being
listed (see below), or ended by not ending. `--fresh` forgets all results, which the last word on a score needs.

A mutant is one change: `<` for `<=`, `-` for `+`, 2 for 1, None for an argument or for what is assigned, an argument
left out, `not` left out, another string. It is killed where a test of the module's own files (`TESTS`) fails or does
not end; it has survived where all pass. A survivor that no test can kill, because it computes the same, is listed with
its reason in `equivalent.toml`, by the function and the lines it changes, and so for as long as these lines stand.

Left out are, by rule: what stands in a `raise` statement, since that is text for people (the condition above it is
mutated); in `plots` the layout, which is the arguments whose names are in `LAYOUT` and the calls of the methods in
`LAYOUT_METHODS`: sizes, widths, margins, alignments, what is in front of what, but nothing of data, labels, colours,
line styles and markers; and, because mutmut mutates the bodies of undecorated functions alone: properties, the
defaults of dataclasses, constants of modules and classes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: the processes are busy enough

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
COPIED = ("handmade", "reference", "tests", "README.md", "LICENSE")
NOT_COPIED = ("__pycache__", "mutation")
KILLED = ("killed", "timeout")
CAPTURED = dict(capture_output=True, text=True, check=True)
TIMEOUT = 36  # mutmut's exit code for it
MEMORY = 4 << 30  # bytes, so that a mutant that never stops growing fails and harms nobody
PATIENCE = 60  # a mutant that does not end is told by the processor's time; the clock may show so many times as much

# Which tests have to notice: the module's own, and those of what is built on it where that is the way it is used.
TESTS = {
    "activations": ["activations", "exactness"],
    "losses": ["losses", "exactness"],
    "perceptron": ["perceptron"],
    "layers": ["layers", "composites", "network"],
    "normalization": ["normalization", "layers", "network"],
    "composites": ["composites", "layers", "network"],
    "network": ["network", "composites", "layers", "normalization"],
    "initializers": ["initializers", "layers"],
    "optimizers": ["optimizers"],
    "clipping": ["optimizers"],
    "schedules": ["schedules"],
    "training": ["training"],
    "metrics": ["metrics"],
    "information": ["information"],
    "chain_rule": ["chain_rule"],
    "differences": ["differences"],
    "_network_loss": ["differences"],
    "gradients": ["gradients", "progress"],
    "walk": ["walk"],
    "_loss_mistakes": ["mistakes"],
    "mistakes": ["mistakes"],
    "_likeness": ["likeness"],
    "diagnosis": ["diagnosis"],
    "grading": ["grading"],
    "data": ["data"],
    "progress": ["progress"],
    "configuration": ["configuration"],
    "plots": ["plots"],
    "_steps": ["optimizers"],
    "_state": ["optimizers", "schedules"],
    "_validation": ["validation"],
}

LEFT_OUT = [
    # They run the package in another place, where mutmut is not.
    "tests/test_data.py::test_digits_are_read_from_a_package_inside_a_zip",
    "tests/test_plots.py::test_matplotlib_is_not_imported_before_a_picture_is_drawn_and_pyplot_never",
    # The whole catalogue in eleven networks takes longer than all other tests of diagnosis, and what it tells, they do.
    "tests/test_diagnosis.py::test_every_mistake_of_the_catalogue_is_named_or_changes_nothing",
]

# How a picture looks, and not what it shows.
LAYOUT = {
    "alpha", "arrowstyle", "azim", "bbox_to_anchor", "boxstyle", "capstyle", "ccount", "edgecolor", "edgecolors",
    "elev", "figsize", "fontsize", "fontweight", "framealpha", "frameon", "ha", "handlelength", "labelpad", "layout",
    "linewidth", "loc", "markeredgecolor", "markersize", "mutation_scale", "ncols", "rcount", "s", "shrink",
    "shrinkA", "shrinkB", "title_fontsize", "va", "zoom", "zorder",
}  # fmt: skip
LAYOUT_METHODS = {"grid", "set_aspect", "set_box_aspect", "set_xlim", "set_ylim", "tick_params", "view_init"}

SETTINGS = """
[tool.mutmut]
source_paths = ["handmade"]
only_mutate = ["handmade/{module}.py"]
also_copy = ["reference", "README.md", "LICENSE"]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 4.0
timeout_multiplier = 5.0
use_git_change_detection = false
"""

Mutant = dict[str, str]  # name, status, function, old and new lines


def main() -> int:
    """Run the mutants of the modules asked for, and print the score; 1 if one survives that is not listed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(TESTS)}; all unless given")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "handmade-mutation")
    parser.add_argument("--fresh", action="store_true", help="forget all results of earlier runs")
    parser.add_argument("--report", action="store_true", help="run nothing, print what is known")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(TESTS):
        parser.error(f"expected modules among {', '.join(TESTS)}; got {', '.join(sorted(unknown))}")

    modules = options.modules or list(TESTS)
    try:
        for module in [] if options.report else modules:
            place = options.work / module
            if options.fresh:
                shutil.rmtree(place, ignore_errors=True)
            print(f"---- {module}: {place}", flush=True)
            started = time.monotonic()
            process = multiprocessing.get_context("fork").Process(target=run, args=(module, place, options.processes))
            process.start()
            process.join()
            print(f"---- {module}: {time.monotonic() - started:.0f} s", flush=True)
    except KeyboardInterrupt:
        process.join()
        print("\ninterrupted; the same command goes on from here")
    return report({module: outcome(options.work / module) for module in modules})


# ---- one module ------------------------------------------------------------------------------------------------------


def run(module: str, place: Path, processes: int) -> None:
    """Bring the copy up to date, run its mutants, and write down what became of each."""
    tests_changed = copy_project(module, place)
    os.chdir(place)  # where mutmut looks for its settings as soon as it is imported
    import mutmut.__main__ as mutmut
    from mutmut.mutation import file_mutation
    from mutmut.workers import isolation

    register = isolation.register_timeout  # by the clock, which goes on where others use the processor
    isolation.register_timeout = lambda pid, timeout_s: register(pid, PATIENCE * timeout_s)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    source = mutmut.SourceFileMutationData(path=Path(f"handmade/{module}.py"))
    if tests_changed and source.meta_path.exists():
        Path("mutants/mutmut-stats.json").unlink(missing_ok=True)  # which tests reach what: of old tests, too
        source.load()
        for mutant in describe(mutmut, source):
            if is_open(module, mutant) or mutant["status"] == "timeout":
                source.exit_code_by_key[mutant["name"]] = None
        source.save()

    file_mutation.MutationVisitor = without_text(file_mutation.MutationVisitor)
    file_mutation.mutation_operators = [
        (kind, another_string if operator.__name__ == "operator_string" else operator)
        for kind, operator in file_mutation.mutation_operators
    ]
    if module == "plots":
        file_mutation.MutationVisitor = without_layout(file_mutation.MutationVisitor)
        file_mutation.mutation_operators = [
            (kind, of_other_arguments(operator) if operator.__name__ in OF_ARGUMENTS else operator)
            for kind, operator in file_mutation.mutation_operators
        ]
    file_mutation.NEVER_MUTATE_FUNCTION_NAMES.discard("__setattr__")
    mutmut.PytestRunner.run_tests = only_these_tests
    try:
        mutmut._run((), processes)
        source.load()
        early = called_by_import()
        mutants = [m for m in describe(mutmut, source) if m["name"].rpartition("__mutmut_")[0] in early]
        try_again(module, [mutant for mutant in mutants if is_open(module, mutant)], source, processes)
    finally:
        source.load()
        Path("outcome.json").write_text(json.dumps(describe(mutmut, source), indent=1))


def copy_project(module: str, place: Path) -> bool:
    """Copy the files that are new or have changed; whether a test is among them."""
    files = [path for name in COPIED for path in [ROOT / name, *sorted((ROOT / name).rglob("*"))] if path.is_file()]
    contents = {path.relative_to(ROOT): path.read_bytes() for path in files if path.parent.name not in NOT_COPIED}
    settings = (ROOT / "pyproject.toml").read_text()
    settings += SETTINGS.format(module=module, tests=json.dumps(test_files(module)))
    contents[Path("pyproject.toml")] = settings.encode()
    changed = []
    for path, content in contents.items():
        copy = place / path
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            changed.append(path)
    return any(path.parts[0] == "tests" for path in changed)


def test_files(module: str) -> list[str]:
    files = [f"tests/test_{name}.py" for name in TESTS[module]]
    return files + [f"--deselect={test}" for test in LEFT_OUT if test.partition("::")[0] in files]


def without_text(visitor: type) -> type:
    """A visitor that mutates what the other does, except in `raise` statements."""
    import libcst

    class WithoutText(visitor):
        def _skip_node_and_children(self, node) -> bool:
            return isinstance(node, libcst.Raise) or super()._skip_node_and_children(node)

    return WithoutText


def is_layout(node) -> bool:
    import libcst

    if isinstance(node, libcst.Arg):
        return node.keyword is not None and node.keyword.value in LAYOUT
    return (
        isinstance(node, libcst.Call)
        and isinstance(node.func, libcst.Attribute)
        and node.func.attr.value in LAYOUT_METHODS
    )


def without_layout(visitor: type) -> type:
    """A visitor that mutates what the other does, except what is layout."""

    class WithoutLayout(visitor):
        def _skip_node_and_children(self, node) -> bool:
            return is_layout(node) or super()._skip_node_and_children(node)

    return WithoutLayout


OF_ARGUMENTS = ("operator_arg_removal", "operator_dict_arguments")


def of_other_arguments(operator):
    """The mutants of a call in which an argument is changed or left out that is not layout."""

    def mutants(node):
        for mutant in operator(node):
            if not any(is_layout(arg) for arg in node.args if all(arg is not other for other in mutant.args)):
                yield mutant

    return mutants


def another_string(node):
    """One other string for each: in the other case, or with something in it. mutmut's three tell no more than one."""
    from mutmut.mutation.mutators import operator_string

    mutants = list(operator_string(node))  # with XX around it; then in lower and in upper case, where that is another
    yield from mutants[-1:]


def only_these_tests(runner, *, mutant_name: str | None, tests) -> int:
    """Run the tests that reach a mutant, the quick ones first; given by file, as thousands of names take long."""
    from mutmut.state import state
    from mutmut.utils.file_utils import change_cwd

    class These:
        def pytest_collection_modifyitems(self, items) -> None:
            if tests:
                seconds = state().duration_by_test
                items[:] = sorted((item for item in items if item.nodeid in tests), key=lambda i: seconds[i.nodeid])

    with change_cwd("mutants"):
        return int(runner.execute_pytest(runner._pytest_args_regular_run([]), plugins=[These()]))


def called_by_import() -> set[str]:
    """The functions, as mutmut names them, that run while the package is imported."""
    code = "import handmade; from mutmut.state import state; print(*state()._stats)"
    environment = os.environ | {"MUTANT_UNDER_TEST": "stats"}
    return set(subprocess.run([sys.executable, "-c", code], cwd="mutants", env=environment, **CAPTURED).stdout.split())


def try_again(module: str, mutants: list[Mutant], source, processes: int) -> None:
    """Run survivors once more, each in a new process: mutmut's have imported the package before it is mutated, and what
    a function has made then, such as a check of a number, is not."""

    def exit_code(mutant: Mutant) -> int:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *test_files(module)]
        environment = os.environ | {"MUTANT_UNDER_TEST": mutant["name"]}
        options = dict(cwd="mutants", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return min(1, subprocess.run(command, timeout=300, **options).returncode)
        except subprocess.TimeoutExpired:
            return TIMEOUT

    with ThreadPoolExecutor(processes) as pool:
        for done, (mutant, code) in enumerate(zip(mutants, pool.map(exit_code, mutants), strict=True), 1):
            print(f"\rin a new process: {done}/{len(mutants)}", end="", flush=True)
            source.exit_code_by_key[mutant["name"]] = code
            source.save()
    print()


def describe(mutmut, source) -> list[Mutant]:
    """What each mutant changes, and what became of it."""
    mutants = []
    for name, code in source.exit_code_by_key.items():
        status, lines = mutmut.status_by_exit_code[code], []
        if status not in KILLED:
            lines = mutmut.get_diff_for_mutant(name, path=source.path).splitlines()[2:]
        old, new = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        function = name.rpartition(".")[2].rpartition("__mutmut_")[0].removeprefix("x").removeprefix("_")
        function = function.strip("ǁ").replace("ǁ", ".")
        mutants.append(dict(name=name, status=status, function=function, old=old, new=new))
    return mutants


# ---- the score -------------------------------------------------------------------------------------------------------


def outcome(place: Path) -> list[Mutant]:
    file = place / "outcome.json"
    return json.loads(file.read_text()) if file.exists() else []


def equivalents() -> set[tuple[str, ...]]:
    """The mutants of which `equivalent.toml` says why no test can kill them."""
    return {
        (module, function, old.strip(), new.strip())
        for module, groups in tomllib.loads(EQUIVALENT.read_text()).items()
        for group in groups
        for function, old, new in group["mutants"]
    }


def key(module: str, mutant: Mutant) -> tuple[str, ...]:
    return module, mutant["function"], mutant["old"], mutant["new"]


def is_open(module: str, mutant: Mutant) -> bool:
    """Whether a mutant has been run, was not killed, and is not known to be equivalent."""
    return mutant["status"] not in (*KILLED, "not checked") and key(module, mutant) not in equivalents()


def report(outcomes: dict[str, list[Mutant]]) -> int:
    """Print the score of each module and the mutants that call for a test; 1 if there are any."""
    rows, open_mutants, met = [], [], set()
    for module, mutants in outcomes.items():
        survived = [mutant for mutant in mutants if is_open(module, mutant)]
        killed, unknown = (sum(m["status"] in status for m in mutants) for status in (KILLED, ["not checked"]))
        rows.append(
            (module, len(mutants), killed, len(mutants) - killed - unknown - len(survived), len(survived), unknown)
        )
        met.update(key(module, mutant) for mutant in mutants)
        open_mutants += survived
    rows.append(("together", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))

    for mutant in open_mutants:
        print(f"\n{mutant['name']}: {mutant['status']}")
        print("\n".join(f"  - {line}" for line in mutant["old"].splitlines()))
        print("\n".join(f"  + {line}" for line in mutant["new"].splitlines()))
    for module, function, old, new in sorted(known for known in equivalents() - met if known[0] in outcomes):
        print(f"\nlisted as equivalent, but no such survivor: {module}.{function}\n  - {old}\n  + {new}")
    print(f"\n{'module':<16}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'survived':>10}{'not run':>9}{'score':>9}")
    for module, total, killed, equivalent, survived, unknown in rows:
        score = killed / max(1, killed + survived)
        print(f"{module:<16}{total:>9}{killed:>9}{equivalent:>12}{survived:>10}{unknown:>9}{score:>9.1%}")
    return int(bool(open_mutants))


if __name__ == "__main__":
    sys.exit(main())
