"""Measurements of trainings over several processes: equality with one process, kills and restarts, and scaling."""
