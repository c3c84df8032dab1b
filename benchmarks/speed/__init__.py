"""Speed and memory beside the peers, measured fairly.

``python -m benchmarks.speed`` runs the comparison and writes the report; ``python -m pytest benchmarks/speed`` times
the same pieces with pytest-benchmark.
"""
