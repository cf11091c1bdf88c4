"""Prediction sets with stated coverage."""
