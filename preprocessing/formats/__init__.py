"""What a file is, whoever reads it."""
