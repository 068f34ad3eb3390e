"""Verified bytes: name, keep, fetch, pin. No torch, no pandas."""
