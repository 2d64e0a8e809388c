"""Scores of a checkpoint's network in PyTorch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet
from infdet_deploy.evaluation.scorers import Scorer
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.model.network import to_grey
from infdet_deploy.model.weights import load_network
from infdet_deploy.plots.flow import draw_flow, liveliest_pairs
from infdet_deploy.training.checkpoint import saved_rule, store_thresholds
from infdet_deploy.training.dataset import PreparedClip, load_dataset
from infdet_deploy.training.run_folder import checkpoint_file
from infdet_deploy.training.tvl1 import limit_px
from infdet_deploy.training.validation import clip_scores, mean_losses, scored_clips


class CheckpointScorer(Scorer):
    """The network of a checkpoint, or of a run folder's best checkpoint, which `export` uses too."""

    def __init__(self, run: Path) -> None:
        self.path = checkpoint_file(run)
        self.network, extra = load_network(self.path)
        config = self.network.config
        self.classes, self.task = config.classes, str(config.task)
        self.rule, self.preparation = saved_rule(extra, self.classes), config.preparation()
        self.clips: list[PreparedClip] = []

    def score(self, data: DataSet, subset: str | None, on_progress: OnProgress) -> list[ScoredClip]:
        config, ends = self.network.config, self.rule.ends
        self.clips = load_dataset(data, subset, config, lambda done, of: on_progress(done, of, "prepare"), ends)
        found = []
        for index, clip in enumerate(self.clips):
            on_progress(index, len(self.clips), f"score {clip.name}")
            found += clip_scores(self.network, [clip])
        self.losses = mean_losses(found)
        return scored_clips(found, self.clips, self.rule)

    def store(self, thresholds: Sequence[float]) -> None:
        store_thresholds(self.path, thresholds)
        self.rule = replace(self.rule, thresholds=tuple(thresholds))

    def draw_flow(self, path: Path) -> None:
        """Of the first clip with an action, or the first clip; nothing without an FEN."""
        if self.network.fen is None:
            return
        clip = next((clip for clip in self.clips if clip.annotation.instances), self.clips[0])
        pairs = np.array(liveliest_pairs(clip.flow))
        frames = np.stack([clip.frames[pairs], clip.frames[pairs + 1]], axis=1)
        with torch.inference_mode():
            estimate = self.network.estimate_flow(to_grey(torch.from_numpy(frames)))[:, 0].numpy()
        times_s = pairs * clip.duration_s / len(clip.frames)
        longest_px = limit_px(self.network.config.size)
        draw_flow(path, clip.name, clip.frames[pairs], times_s, clip.flow[pairs], estimate, longest_px)
