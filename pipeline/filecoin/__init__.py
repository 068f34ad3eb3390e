"""Filecoin as a place to keep data sets: choose providers, quote, upload, sign, and never pay twice."""
