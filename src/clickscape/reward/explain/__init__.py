"""Explanations: a heat map of one picture, effects of its phrases, and credits of scene elements across the log."""
