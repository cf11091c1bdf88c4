"""The model package: a folder that holds all a model needs, checked by hash, executing nothing."""
