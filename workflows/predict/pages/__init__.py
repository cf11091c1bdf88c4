"""The pages a clinician opens: one folder, no network, plain files."""
