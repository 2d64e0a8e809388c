"""Live detection: auto-reconnecting cameras to events."""
