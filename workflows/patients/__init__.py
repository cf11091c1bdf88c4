"""One patient in a job: where it is held, and what is done when consent is withdrawn."""
