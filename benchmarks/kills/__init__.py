"""Trainings killed at random moments: nothing is lost, and the resumed ones end with the same bits."""
