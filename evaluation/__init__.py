"""What to expect at the next hospital: estimates per site, with intervals."""
