"""Threads, devices and processes, learning-rate schedules, and checks of weights that come from elsewhere."""
