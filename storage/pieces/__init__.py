"""Filecoin's pieces: what a payload is called there, and proofs that some of it is the payload's."""
