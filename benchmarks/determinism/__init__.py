"""The effect of BLAS threads, BLAS kernels, compilation and repetition on the bits of a training.

``python -m benchmarks.determinism`` trains one network in several processes and compares the parameters. `training`
does a training, `__main__` the comparison.
"""
