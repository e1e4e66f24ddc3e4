"""Files: written whole or not at all, checked by checksum, locked."""
