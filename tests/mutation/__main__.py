"""Mutation testing: change one thing in a module of `handmade`, and see whether a test of the module fails.

    python -m tests.mutation                      all modules
    python -m tests.mutation losses checking      these, and what is below them
    python -m tests.mutation --show losses        print what is known, run nothing
    python -m tests.mutation --markdown           print the scores that are known, as docs/testing.md shows them

Modules that carry the mathematics are mutated whole, the others in a sample of 200 that is always the same. Results are
kept in a directory (`--work`): Ctrl-C stops a campaign, and the same command goes on. `--fresh` forgets them.

A mutant that survives either calls for a test or computes the same; `equivalent.toml` lists the latter, with reasons.
Not changed is what no program depends on: the text of errors and warnings, docstrings, types, and in `plots` the layout
(sizes, margins, alignments), but nothing of data, labels, colours and styles.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: the processes are busy enough
os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiled functions are Python then, and can be changed

from .campaign import HEAD, ROOT, SAMPLE, Equivalents, Module, Score, run_module, score

# Mutated whole: what carries the mathematics.
WHOLE = {
    "activations", "losses", "_numerics", "base_layer", "layers", "dropout", "normalization", "composites", "network",
    "_parameters", "_first_backward", "optimizers", "_steps", "schedules", "chain_rule", "checking.differences",
    "checking.neighbourhood", "checking.entry_checker",
}  # fmt: skip

# The tests of a module are those whose names begin with that of its package or its own, see `tests_of`; and these.
NETWORK = "network layers dense normalization composites prediction files summary own statistics"
TRAINING = "training fit_options callbacks checkpoints compiled_training"
ENTRIES = "entry_checker check_methods many_entries proven_gradients gradients progress"
DIFFERENCES = "differences noise step_sweep"
FORMULAS = "step_formulas steps_of_students formulas localisation diagnosis_elsewhere"
OPERATIONS = "operations layer_operations activation_operations"
MATCHES = "transforms factors gradient_match"
MORE = {
    "_config": "files hostile_files round_trips",
    "_csv": "data readers",
    "_first_backward": "own_layers network diagnosis",
    "_fit_options": f"{TRAINING} hooks",
    "_html": "chain_rule summary check_table",
    "_idx": "data readers",
    "_minibatches": f"{TRAINING} distributed",
    "_npz": "data readers files hostile_files",
    "_numerics": "activations softmax losses cross_entropy exactness dense",
    "_parameters": f"{NETWORK} generators transposed_weights",
    "_run": f"{TRAINING} distributed lbfgs",
    "_run_state": "run training checkpoints",
    "_safetensors": "files hostile_files",
    "_sparse": "minibatches network training",
    "_state": "optimizers schedules",
    "_steps": "optimizers groups hooks own",
    "_streams": "data readers csv idx npz files hostile_files",
    "_threads": "network_bad_input prediction",
    "_toy_problems": "data",
    "_user_code": "subcommands commands grading",
    "_vectors": "network groups",
    "activations": "softmax numerics exactness",
    "base_layer": "own statistics forward_contract layers dense composites network files",
    "callbacks": "training checkpoints",
    "checking.adapters": "assertion",
    "checking.backward_pass": "localisation mistakes diagnosis",
    "checking.catalogue_search": "diagnosis",
    "checking.causes": MATCHES,
    "checking.check_table": "gradients",
    "checking.claims": "diagnosis",
    "checking.differences": DIFFERENCES,
    "checking.entry_checker": ENTRIES,
    "checking.explanation": "diagnosis_report",
    "checking.formulas": f"{FORMULAS} predictions layer_operations",
    "checking.gradients": ENTRIES,
    "checking.localisation": "step_formulas step_search diagnosis mistakes",
    "checking.loss_mistakes": "mistakes",
    "checking.measured_layers": "diagnosis",
    "checking.methods": DIFFERENCES,
    "checking.mistakes": "loss_mistakes",
    "checking.neighbourhood": f"{DIFFERENCES} {ENTRIES}",
    "checking.network_loss": "differences",
    "checking.operations": OPERATIONS,
    "checking.other_networks": "diagnosis mistakes",
    "checking.places": "mistakes formulas diagnosis",
    "checking.problem": "diagnosis",
    "checking.regression": "localisation",
    "checking.reports": "diagnosis",
    "checking.rounding": ENTRIES,
    "checking.step_search": "step_batches diagnosis localisation",
    "checking.subjects": ENTRIES,
    "checking.terms": "diagnosis localisation",
    "checking.transforms": MATCHES,
    "checkpoints": "distributed",
    "clipping": "optimizers",
    "commands": "subcommands",
    "composites": "layers network files",
    "data": "readers csv idx npz",
    "dropout": "layers network files",
    "files": "hostile_files readers",
    "grading": "sandbox",
    "history": f"{TRAINING} summary",
    "initializers": "dense own_functions",
    "layers": "base_layer forward_contract initializers dense own composites network files",
    "losses": "cross_entropy find_loss exactness network own_functions",
    "mlp": "network",
    "network": NETWORK,
    "normalization": "statistics layers network files",
    "optimizers.combined": "clipping groups lbfgs own_functions",
    "optimizers.lbfgs": "lbfgs",
    "optimizers.matrices": "groups reprs",
    "perceptron": "delta_rule",
    "schedules": "plateau own_functions",
    "training": TRAINING,
}
LEFT_OUT = {"", "protocols", "digits"}  # nothing to compute
# What no mutant reaches: imported anew by the processes that run it, or run only as compiled code.
APART = {"grading.child", "compiled._jit", "compiled.blas"}

# How a picture looks, and not what it shows.
LAYOUT = frozenset({
    "alpha", "arrowstyle", "azim", "bbox_to_anchor", "boxstyle", "capstyle", "ccount", "edgecolor", "edgecolors",
    "elev", "figsize", "fontsize", "fontweight", "framealpha", "frameon", "ha", "handlelength", "labelpad", "layout",
    "linewidth", "loc", "markeredgecolor", "markersize", "mutation_scale", "ncols", "rcount", "s", "shrink",
    "shrinkA", "shrinkB", "title_fontsize", "va", "zoom", "zorder",
    "grid", "set_aspect", "set_box_aspect", "set_xlim", "set_ylim", "tick_params", "view_init",
})  # fmt: skip


def tests_of(name: str) -> list[Path]:
    """Return the test files of a module, those of its package first."""
    parents = [name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1)]
    own = files_named(name.split(".")[0]) or files_named(parents[0].split(".")[-1])
    more = [files_named(stem) for parent in parents for stem in MORE.get(parent, "").split()]
    return [*dict.fromkeys(itertools.chain(own, *more))]


def files_named(stem: str) -> list[Path]:
    """Return the test files whose names begin with this one, in the singular or the plural."""
    pattern = re.compile(rf"test_{stem.lstrip('_').removesuffix('s')}s?(_.*)?\.py")
    return [path for path in sorted((ROOT / "tests").iterdir()) if pattern.fullmatch(path.name)]


def all_modules() -> dict[str, Module]:
    """Return the modules of the package that have tests, by name."""
    modules = {}
    for path in sorted((ROOT / "handmade").rglob("*.py")):
        name = Module(path, []).name()
        parents = {name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1)}
        if name not in LEFT_OUT and (tests := tests_of(name)) and not APART & parents and path.stat().st_size > 100:
            layout = LAYOUT if name.startswith("plots") else frozenset()
            modules[name] = Module(path, tests, None if WHOLE & parents else SAMPLE, layout)
    return modules


def main() -> int:
    """Run the mutants that are asked for, and print the score; return 1 if one survives that is not listed."""
    modules = all_modules()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(modules)}")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "handmade-mutation")
    parser.add_argument("--sample", type=int, help="at most so many mutants of each module, always the same ones")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--show", action="store_true", help="run nothing, print what is known")
    parser.add_argument("--markdown", action="store_true", help="run nothing, print a table of what was run")
    options = parser.parse_args()
    chosen = [
        name
        for name in modules
        if not options.modules or any(name == wanted or name.startswith(f"{wanted}.") for wanted in options.modules)
    ]
    if options.sample:
        modules = {
            name: m._replace(sample=min(m.sample or options.sample, options.sample)) for name, m in modules.items()
        }
    if not chosen:
        parser.error(f"expected modules among {', '.join(modules)}; got {', '.join(options.modules)}")
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    if options.markdown:
        print(markdown({name: modules[name] for name in chosen}, options.work))
        return 0
    return report({name: modules[name] for name in chosen}, options.work, 0 if options.show else options.processes)


def report(modules: dict[str, Module], work: Path, processes: int) -> int:
    """Run modules one by one, and print survivors and scores as they come."""
    equivalents = Equivalents()
    scores: list[Score] = []
    try:
        for name, module in modules.items():
            row, survivors, refuted = score(name, run_module(module, work, processes), equivalents)
            scores.append(row)
            for mutant in survivors:
                print(f"survived: {mutant.name!r}")
            for mutant in refuted:
                print(f"killed, though listed as equivalent: {mutant.name!r}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here")
    if len(modules) == len(all_modules()):
        for name in sorted(equivalents.why.keys() - equivalents.met):
            print(f"listed as equivalent, but no mutant: {name!r}")
    totals = [sum(column) for column in list(zip(*scores, strict=True))[1:]] if scores else [0] * 5
    print("", HEAD, *scores, Score("together", *totals), sep="\n")
    return int(totals[3] > 0)


def markdown(modules: dict[str, Module], work: Path) -> str:
    """Return a table in Markdown of what has been run, and how many mutants there are where that is not all."""
    equivalents = Equivalents()
    rows: list[Score] = []
    for name, module in modules.items():
        outcomes = run_module(module._replace(sample=None), work, 0)
        known = [outcome for outcome in outcomes if outcome[1] != "not run"]
        if known:
            part = "" if len(known) == len(outcomes) else f", of {len(outcomes)}"
            rows.append(score(f"{name}{part}", known, equivalents)[0])
    totals = [sum(row[i] for row in rows) for i in range(1, 6)]
    lines = ["| module | mutants | killed | equivalent | survived | score |", "|---|---|---|---|---|---|"]
    for row in [*rows, Score("together", *totals)]:
        cells = [row.module, *map(str, row[1:5]), str(row).split()[-1]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
