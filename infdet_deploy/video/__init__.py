"""Frames from anything: video files, image folders, 16-bit thermal recordings → uint8 [T,H,W]."""

from infdet_deploy.video.arrays import ThermalArray
from infdet_deploy.video.frames import Video, read_video
from infdet_deploy.video.resize import resize
from infdet_deploy.video.thermal import to_8bit

__all__ = ["ThermalArray", "Video", "read_video", "resize", "to_8bit"]
