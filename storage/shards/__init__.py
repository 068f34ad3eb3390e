"""Shard formats: where a sample starts and ends. Shared by those who write shards and those who read them."""
