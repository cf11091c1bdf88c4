"""Encoders that turn the pixels of a tile into a feature vector."""
