"""The loader beside its peers: `python -m benchmarks.loaders`. Peers run in environments of their own."""
