"""Cases whose grade most needs a second look: found, shown, sent round, and read back."""
