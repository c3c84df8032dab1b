"""Hostile inputs, in any number: ``python -m tests.fuzz readers --cases 100000``.

A target draws a case from a generator, runs it and checks the rule: the right answer, or ValueError or TypeError that
names the argument; no other exception, no warning, no hang, no crash of the process, no wrong number, no change of the
caller's data or of the library's state after an error, no memory beyond a small multiple of the input. What is right is
known from an oracle: another parser, or the same computation on a clean float64 copy.

Case n of a target is drawn from ``numpy.random.default_rng([seed, n])``, so that every case can be run again alone:
``python -m tests.fuzz csv --case 1234``. A new target is one function and one line in ``TARGETS`` of its module.
"""
