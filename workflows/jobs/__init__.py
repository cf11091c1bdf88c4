"""A job: its configuration, its folder, and the page of all settings."""
