"""Small grey pictures as a modality of offsite."""
