"""The cohort table: reading, splits, audits."""
