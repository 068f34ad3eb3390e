"""Audits: is it still there, at each provider itself? `audit.audit` is the front door."""
