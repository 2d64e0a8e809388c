"""Many recordings through one bundle: recordings, result files, processes."""
