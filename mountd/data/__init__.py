"""A node's bytes on this machine: backing file, extents, fetching, prefetch, eviction."""
