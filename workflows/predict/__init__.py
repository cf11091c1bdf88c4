"""Batch prediction for clinicians: one row per input, always, and no answer that pretends."""
