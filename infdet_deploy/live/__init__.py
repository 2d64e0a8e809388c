"""Live sources: pictures from cameras and streams that never give up."""

from infdet_deploy.live.source import Frame, Source, SourceStats, open_source

__all__ = ["Frame", "Source", "SourceStats", "open_source"]
