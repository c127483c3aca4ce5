"""The audit of a data set: what a detector could learn from it besides the pictures."""
