"""Samplers, losses, schedules, one fit loop, checkpoints."""
