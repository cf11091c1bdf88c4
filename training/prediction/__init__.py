"""What prediction asks of a modality, and the words of its results."""
