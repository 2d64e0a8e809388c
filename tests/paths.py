"""Where the tests find their files."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # the repository
DATA = ROOT / "tests" / "data"  # outputs of the original implementation
SHARED = ROOT.parent / "shared" / "data"  # recordings and annotations of others; absent in a plain clone
LEPTON = SHARED / "thermal" / "lepton_160x120_100frames.cptv"
INFDET = SHARED / "infdet_annotations"
