"""A dataset as pieces for Filecoin: which blocks go into which, and their CARs."""
