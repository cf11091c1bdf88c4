"""Synthetic fundus photographs with known truth."""
