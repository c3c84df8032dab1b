"""A test with trainings that are killed at random moments and resumed: they must end with the same bits."""
