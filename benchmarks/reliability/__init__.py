"""Promises about losing nothing, threads and long runs: tried many times, and counted."""
