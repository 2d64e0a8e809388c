"""The live head with cached convolutions: same scores, only new snippets computed."""

import numpy as np
import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.live.head import LiveHead

# Windows: growing, sliding, repeated, and ahead by more than their length.
WINDOWS = [(0, n) for n in (*range(1, 8), 9, 9, 14, 20)] + [(4, 24), (8, 28), (13, 33), (20, 40), (45, 60), (45, 60)]


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def features(bundle):
    rng = np.random.default_rng(0)
    entries = [tensor for tensor in bundle.entry("head").inputs if tensor.name != "length"]
    return {one.name: 3 * rng.random((60, one.shape[1]), np.float32) for one in entries}


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-6), ("float16", 1e-6)])
def test_scores_equal_those_of_the_whole_head(bundle, features, precision, allowed):
    kept, whole = (LiveHead(bundle, precision=precision, cached=cached) for cached in (True, False))
    ours, reference = kept.session(), whole.session()
    for first, end in WINDOWS:
        window = {name: rows[first:end] for name, rows in features.items()}
        expected = reference(window, first, end - first + 1)
        assert np.abs(ours(window, first, end - first + 1) - expected).max() <= allowed, (first, end)
        assert expected.std() > 0.01
    # sessions are independent
    window = {name: rows[30:40] for name, rows in features.items()}
    assert np.array_equal(kept.session()(window, 0, 11), reference(window, 0, 11))
    kept.close()
    whole.close()


def test_only_new_snippets_and_borders_are_convolved(bundle, features, monkeypatch):
    head = LiveHead(bundle)
    select, convolved = head._parts[0], []

    def counting(feeds):
        convolved.append(len(next(iter(feeds.values()))))
        return select(feeds)

    monkeypatch.setattr(head, "_parts", (counting, head._parts[1]))
    run = head.session()
    for first, end in ((0, 40), (4, 44), (8, 48)):
        run({name: rows[first:end] for name, rows in features.items()}, first, end - first + 1)
    # 4 new snippets, the previous border of 2, its halo of 2; and the window's first 4
    assert convolved == [40, 8, 4, 8, 4]
    head.close()
