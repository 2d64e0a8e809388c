"""Many recordings through one bundle: which there are, what was finished before, several processes."""
