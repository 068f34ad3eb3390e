"""Typed settings and rosters. Knows no other package of holdfast."""
