"""Metrics as kernels over counts, with a leading axis of resamples."""
