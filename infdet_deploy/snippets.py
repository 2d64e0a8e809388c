"""The number of snippets in a clip."""

FRAMES_PER_SNIPPET = 8  # the towers' temporal stride, `l` in the paper
STEP_FRAMES = 32  # frames of an incremental step: fewer reduce latency, more reduce the cost per frame
MIN_FRAMES = 16  # the shortest clip with a feature that sees real frames only


def valid_length(frames: int) -> int:
    """⌊T/8⌋, the number of snippets of labels and time stamps."""
    return frames // FRAMES_PER_SNIPPET


def feature_length(frames: int) -> int:
    """T', the number of a tower's features for `frames` frames (SAME padding, then a pool of 2)."""
    return max(-(-frames // FRAMES_PER_SNIPPET) - 1, 0)
