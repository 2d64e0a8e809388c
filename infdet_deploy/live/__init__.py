"""Live detection: auto-reconnecting cameras to events."""

from infdet_deploy.live.sources.source import Frame, Source, SourceOptions, SourceStats, open_source

__all__ = ["Frame", "Source", "SourceOptions", "SourceStats", "open_source"]
