"""The bug benchmark: planted mistakes that `check_gradient` has to detect and `diagnose_gradient` has to name.

``python -m benchmarks.bugs`` runs it. `student_programs` holds correct programs in plain NumPy, `catalogue` the wrong
lines, `benchmark` the measurement.
"""
