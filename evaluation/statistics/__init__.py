"""Estimates and their intervals: samples, draws of patients, sites combined."""
