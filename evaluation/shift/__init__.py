"""Shift between sites: of features, of prevalence and of performance, with tests."""
