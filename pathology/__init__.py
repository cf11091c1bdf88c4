"""Whole-slide images: tile features, bags, aggregators, SC-MIL."""
