"""Readers: from verified bytes of a shard to samples."""
