"""Live detection: cameras that never give up in, events out."""

from infdet_deploy.live.sources.source import Frame, Source, SourceStats, open_source

__all__ = ["Frame", "Source", "SourceStats", "open_source"]
