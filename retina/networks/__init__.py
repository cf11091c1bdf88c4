"""Networks that grade a photograph."""
