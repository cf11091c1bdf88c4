"""Feature files: offsite's own and those of others, and the store that training reads."""
