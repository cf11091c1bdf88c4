"""Training-time augmentation; the only place that imports albumentations."""
