"""The stages of a job, one module each; a command calls one of them."""
