"""The part of the grader that runs in the student's process: it imports NumPy and the standard library alone."""
