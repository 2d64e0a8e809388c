"""Live detection: cameras in, events out."""
