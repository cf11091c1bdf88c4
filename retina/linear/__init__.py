"""Method `linear`: the trunk is read once, and a graded linear head is fitted to sums."""
