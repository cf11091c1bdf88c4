"""Aggregators: from the instances of a bag to one embedding, on packed bags."""
