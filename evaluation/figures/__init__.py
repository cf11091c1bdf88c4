"""Figures of the report: from tables to SVG that reads in grey, in print and aloud."""
