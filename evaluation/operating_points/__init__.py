"""Thresholds: chosen on the training sites, carried to every site, judged there."""
