"""Whole-slide images: opening, scale, and exact reading of regions."""
