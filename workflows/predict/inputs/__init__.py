"""From what was named on the command line to inputs, each of which becomes one row."""
