"""Published experiments, rerun: the founding papers' networks, trained by their recipes with the library's own rules.

``python -m benchmarks.papers`` lists the experiments. Each is one file with an `Experiment` in it, named in
`registry.py`; to add one, write such a file and name it there.
"""
