"""DECO: semantics and style taken apart, mixed and aligned."""
