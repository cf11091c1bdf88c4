"""Attention over the slide, as a picture and for QuPath."""
