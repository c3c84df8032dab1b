"""The bug benchmark: planted mistakes that `check_gradient` must detect and `diagnose_gradient` must explain.

``python -m benchmarks.bugs`` runs it. `student_programs` has correct programs in plain NumPy, `catalogue` the wrong
lines, `campaign` the measurement.
"""
