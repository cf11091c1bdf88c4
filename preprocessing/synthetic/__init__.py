"""Synthetic cohorts with known truth, for demonstration and tests; never for science."""
