"""Fundus photographs: datasets, backbones, DECO and its baselines."""
