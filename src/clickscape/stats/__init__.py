"""Statistics that every room shares: bootstrap over clusters, noise ceiling, calibration error. NumPy only."""
