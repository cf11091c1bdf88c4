"""The offsite command, its settings, the model package, batch prediction, the workflow."""
