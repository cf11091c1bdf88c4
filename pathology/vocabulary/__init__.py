"""Tissue words: what a run's tiles show, in so many kinds, and which of them an answer rests on."""
