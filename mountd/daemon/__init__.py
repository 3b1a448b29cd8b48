"""One mount as a process: launch, readiness, control socket, signals."""
