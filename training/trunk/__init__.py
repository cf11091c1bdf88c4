"""The pretrained trunk in the box: EfficientNet-Lite0, its weights, and what is read of its maps."""
