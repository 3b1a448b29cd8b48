"""How a store is spoken to: the interface and its capabilities, one module per service."""
