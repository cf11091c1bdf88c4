"""Medical-imaging models that hold up at hospitals they were never trained on."""
