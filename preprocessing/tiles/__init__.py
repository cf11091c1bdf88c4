"""Tiles of a slide: where tissue is, which tiles are fit to be used, and their pixels."""
