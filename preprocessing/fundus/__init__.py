"""Fundus photographs made ready: field of view, crop, size, enhancement, quality."""
