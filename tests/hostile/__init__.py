"""Hostile and merely odd inputs, and what may become of them: it worked rightly, or one line and exit code 2."""
