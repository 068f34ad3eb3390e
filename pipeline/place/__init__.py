"""Place a dataset with many providers, and know of each what it promised and what was proven."""
