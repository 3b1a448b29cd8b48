"""How bytes get to the store: the journal, uploads, rename intents, recovery."""
