"""Out-of-distribution scores of features and logits; larger is more out of distribution."""
