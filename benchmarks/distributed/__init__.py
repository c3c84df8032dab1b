"""Trainings over several processes: equal to one process, restarted after kills, and how their time scales."""
