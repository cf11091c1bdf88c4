"""What local cases can tell of a site that the model was not trained on."""
