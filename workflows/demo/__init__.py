"""The whole job on synthetic hospitals."""
