"""Data sets: read by name or from a folder, decoded, cached, split, and turned into batches."""
