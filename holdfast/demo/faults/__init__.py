"""A server with real sockets that serves honestly, or plays any verdict: for the demo, tests and benchmarks."""
