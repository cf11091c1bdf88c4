"""Domain-generalisation algorithms over any backbone that maps images to features."""
