"""Golden files: what each version of the formats wrote, which every later version must read. See README.md."""
