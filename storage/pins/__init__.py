"""Who keeps a dataset: the contract of a pin target, and its implementations."""
