"""A workload that knows what it was promised: programs at work on a mount, and a manifest outside of it.

Each worker is a process with a directory and a manifest of its own. Before a call it writes down what the call is to
bring about, afterwards that it has returned 0, or failed; so the manifest tells at any time in which states each path
may be, whatever has become of the daemon, the store or the mount. `check` compares that with what somebody reads.
"""
