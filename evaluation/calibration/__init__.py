"""How far probabilities can be taken at their word, and what makes them better."""
