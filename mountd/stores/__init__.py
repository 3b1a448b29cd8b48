"""Which stores exist: flavors, the registry, credentials, the active store."""
