"""The command line: one file per user."""
