"""The tables of an evaluation folder, one module each, and their reader."""
