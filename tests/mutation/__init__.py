"""Mutation testing: change one thing in a function of `handmade`, and see whether a test fails."""
