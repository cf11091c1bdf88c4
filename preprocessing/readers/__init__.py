"""Readers that turn what users already have into a cohort."""
