"""What a study made: its students, out of the store, as files, and at work on images."""
