"""Names: signed pointers to the newest version of a dataset (IPNS), who keeps them, and whom to believe."""
