"""A fair comparison of speed and memory with other libraries.

``python -m benchmarks.speed`` runs the comparison and writes the report. ``python -m pytest benchmarks/speed`` times
the same cells and jobs with pytest-benchmark.
"""
