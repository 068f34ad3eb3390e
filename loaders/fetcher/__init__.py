"""The fetcher: one process per cache folder that fetches for all workers, ranks and runs that share it.

Its clients say which leaves they want; it fetches, hashes and writes them into the cache files that they map. Payload
does not travel, but for inner nodes, and for leaves that a client cannot see there. It is started by the first who
needs it, and ends a moment after the last has gone; who finds it dead starts another, or fetches for itself.
"""
