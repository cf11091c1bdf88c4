"""Feature files: offsite's and those of others, and the store that training reads."""
