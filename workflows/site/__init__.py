"""A new site: its local cases, and the package set for it."""
