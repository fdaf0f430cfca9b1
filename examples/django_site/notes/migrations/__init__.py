"""How the tables of `notes` came to be."""
