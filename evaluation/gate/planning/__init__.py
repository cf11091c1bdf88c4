"""How often a gate lets candidates pass, before there are any: simulated cases, judged as real ones."""
