"""Losses for imbalanced classes and ordered grades, as plain functions of logits or embeddings."""
