"""From what a network says to what a reader should do."""
