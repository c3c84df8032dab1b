"""The errors of every activation, loss and derivative, in units in the last place (ULP), beside PyTorch's.

``python -m benchmarks.exactness`` prints the table. The functions come from the table of cases in `reference.cases`,
with their exact values by mpmath. `ulp` holds the measure, `points` the inputs, `subjects` both libraries' functions,
`measurement` the worst errors.
"""
