"""The photographs of a run, and the batches made of them."""
