"""Tile encoders as a person asks for them: which there are, and whether one works here."""
