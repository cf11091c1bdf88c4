"""The gate between a candidate and the champion: rules, a verdict with reasons, promotion."""
