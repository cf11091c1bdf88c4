"""Batches of item indices as pure functions of (seed, epoch), over any grouping of the items."""
