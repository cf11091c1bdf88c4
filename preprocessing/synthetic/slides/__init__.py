"""Synthetic slides with known truth."""
