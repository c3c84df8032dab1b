"""The published experiments of the founding papers, run again with their recipes and the library's own rules.

``python -m benchmarks.papers`` lists the experiments. Each is one file with an `Experiment` in it, named in
`registry.py`; to add one, write such a file and name it there.
"""
