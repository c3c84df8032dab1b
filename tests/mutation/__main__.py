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
import os
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

NETWORK = [
    "network",
    "network_bad_input",
    "network_state",
    "prediction",
    "composites",
    "layers",
    "dense",
    "normalization",
    "files",
    "summary",
    "own_layers",
    "own_functions",
    "statistics",
]
ENTRIES = ["entry_checker", "check_methods", "many_entries", "proven_gradients", "gradients", "gradients_at_kinks"]
FORMULAS = ["step_formulas", "steps_of_students", "formulas", "localisation", "diagnosis_elsewhere"]
OPERATIONS = ["operations", "operation_mistakes", "operations_explained", "layer_operations", "activation_operations"]
# The test files of a module, where they are not those of its own name or of its package's.
TESTS = {
    "_numerics": ["numerics", "softmax", "activations", "losses", "cross_entropy", "exactness", "dense"],
    "activations": ["activations", "softmax", "numerics", "exactness"],
    "losses": [
        *("losses", "losses_of_pairs", "losses_bad_input", "cross_entropy", "find_loss", "exactness"),
        *("network", "network_bad_input", "own_functions"),
    ],
    "base_layer": [
        "base_layer",
        "own_layers",
        "own_functions",
        "statistics",
        "forward_contract",
        *("layers", "dense", "composites", "network", "network_bad_input", "network_state", "files"),
    ],
    "dropout": ["dropout", "layers", "network", "network_state", "files"],
    "layers": [
        "layers",
        "base_layer",
        "dense",
        "own_activations",
        "own_functions",
        "own_layers",
        "composites",
        "network",
        "network_bad_input",
        "network_state",
        "files",
    ],
    "normalization": [
        *("normalization", "statistics", "layers", "network", "network_bad_input", "network_state", "files")
    ],
    "composites": ["composites", "layers", "network", "network_bad_input", "network_state", "files"],
    "mlp": ["mlp", "network", "network_bad_input"],
    "network": NETWORK,
    "_parameters": [*NETWORK, "generators"],
    "perceptron": ["perceptron", "delta_rule"],
    "initializers": ["initializers", "dense", "own_functions"],
    "optimizers": ["optimizers", "optimizer_steps", "optimizer_arguments", "optimizer_state"],
    "optimizers.combined": ["optimizer_steps", "optimizer_arguments", "optimizer_state", "clipping", "groups", "lbfgs"],
    "optimizers.lbfgs": ["lbfgs"],
    "optimizers.matrices": ["groups", "optimizer_arguments", "optimizer_state", "reprs"],
    "clipping": ["clipping", "optimizer_state", "optimizer_steps", "optimizer_arguments"],
    "_steps": ["optimizers", "optimizer_steps", "optimizer_arguments", "optimizer_state", "groups"],
    "_state": ["optimizer_state", "schedule_state", "schedules"],
    "schedules": ["schedules", "schedule_arguments", "schedule_state", "plateau"],
    "_first_backward": ["own_layers", "network", "diagnosis"],
    "_threads": ["network_bad_input", "prediction"],
    "_vectors": ["network", "groups"],
    "training": [
        *("training", "training_batches", "training_validation", "training_weights"),
        *("fit_options", "callbacks", "checkpoints", "compiled_training"),
    ],
    "_run": [
        *("training", "training_batches", "training_validation", "training_weights"),
        *("run", "callbacks", "fit_options", "checkpoints", "checkpoint_files", "training_warnings", "lbfgs"),
        *("compiled_training", "distributed"),
    ],
    "_fit_options": [
        *("fit_options", "training", "training_validation", "training_weights"),
        *("callbacks", "compiled_training"),
    ],
    "_run_state": ["run", "checkpoints", "checkpoint_files", "training"],
    "export._common": ["export_common", "export"],
    "_minibatches": [
        "minibatches",
        *("training", "training_batches", "training_validation", "training_weights"),
        *("fit_options", "callbacks", "distributed"),
    ],
    "checkpoints": ["checkpoints", "checkpoint_files", "checkpoint_values", "distributed"],
    "callbacks": ["callbacks", "callbacks_of_batches", "training", "checkpoints"],
    "history": ["training", "callbacks", "checkpoints", "summary", "fit_options"],
    "data": ["data", "readers", "csv", "idx", "npz"],
    "_toy_problems": ["data"],
    "_config": ["files", "hostile_files", "round_trips"],
    "files": ["files", "hostile_files", "readers"],
    "_csv": ["csv", "data", "readers"],
    "_idx": ["idx", "data", "readers"],
    "_npz": ["npz", "data", "readers", "files", "hostile_files"],
    "_streams": ["data", "readers", "csv", "idx", "npz", "files", "hostile_files"],
    "_safetensors": ["files", "hostile_files"],
    "commands": ["commands", "subcommands", "commands_bad_input"],
    "compiled": ["compiled_formulas", "compiled", "compiled_bad_input", "compiled_products", "compiled_training"],
    "estimators": ["estimator_parts", "estimators", "estimators_bad_input", "estimator_state"],
    "grading": [
        *(
            "grading_calls",
            "grading_layouts",
            "grading_conventions",
            "grading_results",
            "grading_in_process",
            "grading_judge",
        ),
        *("sandbox", "grading", "grading_failures", "grading_plugin", "grading_processes", "grading_course"),
    ],
    "checking.localisation": [
        "localisation",
        "step_formulas",
        "step_search",
        "diagnosis",
        "diagnosis_of_arrays",
        "mistakes",
    ],
    "checking.operation_mistakes": OPERATIONS,
    "checking.operation_rules": OPERATIONS,
    "checking.recordings": OPERATIONS,
    "checking.recorded_arrays": OPERATIONS,
    "checking.layer_operations": OPERATIONS,
    "checking.backward_pass": ["backward_pass", "localisation", "mistakes", "diagnosis"],
    "checking.network_loss": ["network_loss", "differences"],
    "checking.diagnosis": ["diagnosis", "diagnosis_of_arrays", "diagnosis_report"],
    "plots": ["plots", "plots_of_descent", "plots_of_networks", "plots_of_training"],
    "checking.check_table": ["check_table", "gradients", "gradients_at_kinks"],
    "checking.entry_checker": [*ENTRIES, "progress"],
    "checking.gradients": [*ENTRIES, "progress"],
    "checking.methods": ["differences", "noise", "step_sweep"],
    "checking.differences": ["differences", "step_sweep", "noise"],
    "checking.neighbourhood": ["noise", "differences", "step_sweep", *ENTRIES],
    "checking.rounding": ENTRIES,
    "checking.subjects": ENTRIES,
    "checking.catalogue_search": ["diagnosis", "diagnosis_of_arrays"],
    "checking.problem": ["diagnosis", "diagnosis_of_arrays", "diagnosis_report"],
    "checking.transforms": ["transforms", "factors", "gradient_match"],
    "checking.causes": ["transforms", "factors", "gradient_match"],
    "checking.explanation": ["diagnosis_report"],
    "checking.activation_operations": ["activation_operations"],
    "checking.reports": ["diagnosis_report", "diagnosis_of_arrays"],
    "checking.step_search": [
        "step_search",
        "step_batches",
        "diagnosis",
        "diagnosis_of_arrays",
        "diagnosis_elsewhere",
        "localisation",
    ],
    "checking.claims": ["claims", "diagnosis", "diagnosis_of_arrays", "diagnosis_elsewhere"],
    "checking.formulas": FORMULAS,
    "checking.step_equations": FORMULAS,
    "checking.step_patterns": [*FORMULAS, "layer_operations", "predictions"],
    "checking.layer_terms": ["localisation"],
    "checking.loss_terms": ["localisation"],
    "checking.parameter_terms": ["localisation"],
    "checking.patterns": ["localisation", "step_formulas"],
    "checking.regression": ["localisation"],
    "checking.loss_mistakes": ["loss_mistakes", "mistakes"],
    "checking.mistakes": ["mistakes", "loss_mistakes"],
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


def all_modules() -> dict[str, Module]:
    """Return the modules of the package that have tests, by name."""
    modules = {}
    for path in sorted((ROOT / "handmade").rglob("*.py")):
        name = Module(path, []).name()
        parents = [name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1)]
        stems = next((TESTS[parent] for parent in parents if parent in TESTS), None)
        stems = stems or [part.lstrip("_") for part in reversed(name.split("."))]
        tests = [file for stem in stems if (file := ROOT / "tests" / f"test_{stem}.py").exists()]
        if tests and name not in LEFT_OUT and APART.isdisjoint(parents) and path.stat().st_size > 100:
            whole = not WHOLE.isdisjoint(parents)
            layout = LAYOUT if name.startswith("plots") else frozenset()
            modules[name] = Module(path, tests, None if whole else SAMPLE, layout)
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
