"""The errors of every activation, loss and derivative, in units in the last place (ULP), beside PyTorch's.

``python -m benchmarks.exactness`` prints the table. The functions and their exact values in mpmath are those of
`reference.cases`. `ulp` defines the error, `points` the inputs, `subjects` the functions of both libraries, and
`measurement` finds the worst errors.
"""
