"""Make a dataset: find its samples, pack them, hash them, give them a root."""
