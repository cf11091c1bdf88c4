"""The fit loop, and what it keeps: checkpoints, averages, the selected epoch."""
