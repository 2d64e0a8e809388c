"""Thermal arrays as files and from Python: shapes, units, times, warm-up and dead pixels."""

import numpy as np
import pytest

from infdet_deploy.errors import VideoError
from infdet_deploy.video import ThermalArray, read_video, to_8bit
from infdet_deploy.video.arrays import to_counts
from infdet_deploy.video.sensor import hold_warm_up, replace_dead_pixels
from tests.paths import SHARED
from tests.video.recordings import write_video


def scene(frames: int = 40, height: int = 16, width: int = 16) -> np.ndarray:
    """Temperatures in °C, float32 [T, H, W]: noise at 24 °C, and a warm spot that moves along the diagonal."""
    rng = np.random.default_rng(0)
    found = 24 + rng.normal(0, 0.05, (frames, height, width))
    for index in range(frames):
        row, column = index * (height - 2) // frames, index * (width - 2) // frames
        found[index, row : row + 2, column : column + 2] += 2
    return found.astype(np.float32)


TIMES = np.cumsum(np.random.default_rng(1).uniform(0.08, 0.14, 40)) + 1000.0


def write_csv(path, frames, times, header=True, extra=True, delimiter=","):
    """A log as the sensor's authors publish it: date, header, then time, sensor temperature and pixels."""
    lines = []
    if header:
        names = ["Time (sec)", *(["PTAT"] if extra else []), *(f"P{i:03}" for i in range(frames[0].size))]
        lines += ["2017/02/03 17:28:07", delimiter.join(names)]
    for frame, time_s in zip(frames, times, strict=True):
        cells = [f"{time_s:.6f}", *(["25.1"] if extra else []), *(f"{value:.3f}" for value in frame.ravel())]
        lines.append(delimiter.join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def expected(frames: np.ndarray) -> np.ndarray:
    return to_8bit(to_counts(frames))


def test_an_array_an_archive_and_a_log_give_the_same_frames(tmp_path):
    frames = np.round(scene(), 2)
    np.savez(tmp_path / "a.npz", clip=frames, **{"clip.time_s": TIMES})
    write_csv(tmp_path / "a.csv", frames, TIMES)
    for source in (ThermalArray(frames, TIMES), tmp_path / "a.npz", tmp_path / "a.csv"):
        video = read_video(source)
        assert np.array_equal(video.frames, expected(frames))
        assert video.timestamps_s == pytest.approx(TIMES - TIMES[0], abs=1e-5)
        assert video.fps == pytest.approx(39 / (TIMES[-1] - TIMES[0]), abs=1e-4)
        assert video.notes == ()


@pytest.mark.parametrize(("levels", "frame_rate"), [("range", None), ("background", None), ("background", 12.0)])
def test_a_log_an_archive_and_a_lossless_video_give_the_same_frames(tmp_path, levels, frame_rate):
    frames, times_s = np.round(scene(), 2), np.round(TIMES - TIMES[0], 3)  # a video's clock has milliseconds
    np.savez(tmp_path / "a.npz", clip=frames, **{"clip.time_s": times_s})
    write_csv(tmp_path / "a.csv", frames, times_s)
    pts = [round(time_s * 1000) for time_s in times_s]
    write_video(tmp_path / "a.mkv", to_counts(frames), "ffv1", "gray16le", "gray16le", pts=pts)
    first, *others = (
        read_video(tmp_path / f"a.{suffix}", levels=levels, frame_rate=frame_rate) for suffix in ("npz", "csv", "mkv")
    )
    assert len(first.frames) == (40 if frame_rate is None else int(times_s[-1] * 12) + 1)
    for other in others:
        assert np.array_equal(first.frames, other.frames)
        assert first.timestamps_s == pytest.approx(other.timestamps_s, abs=1e-9)


def test_an_array_without_times_has_its_own_or_ten_frames_a_second(tmp_path):
    np.save(tmp_path / "a.npy", scene())
    assert read_video(tmp_path / "a.npy").fps == 10.0
    assert read_video(ThermalArray(scene(), fps=8.0)).fps == 8.0
    assert read_video(tmp_path / "a.npy", fps=4.0).duration_s == 10.0


def test_celsius_kelvin_counts_and_grey_levels():
    celsius = np.round(scene(), 2)
    counts = to_counts(celsius)
    assert counts[0, 10, 10] == round((float(celsius[0, 10, 10]) + 273.15) * 100)
    assert np.abs(to_counts(celsius.astype(np.float64) + 273.15).astype(int) - counts).max() <= 1
    assert np.array_equal(read_video(ThermalArray(counts)).frames, expected(celsius))
    grey = np.arange(16 * 9, dtype=np.uint8).reshape(16, 3, 3)
    assert np.array_equal(read_video(ThermalArray(grey)).frames, grey)


@pytest.mark.parametrize(
    ("shape", "header", "extra", "delimiter"),
    [
        ((8, 8), True, False, ","),
        ((24, 32), False, True, ";"),
        ((16, 16), False, False, "\t"),
        ((60, 80), False, True, " "),
    ],
)  # fmt: skip
def test_logs_of_other_sensors(tmp_path, shape, header, extra, delimiter):
    frames = np.round(scene(16, *shape), 3)
    path = write_csv(tmp_path / "a.csv", frames, TIMES[:16], header, extra, delimiter)
    video = read_video(path)
    assert np.array_equal(video.frames, expected(frames))
    assert video.timestamps_s == pytest.approx(TIMES[:16] - TIMES[0], abs=1e-5)


def test_times_in_milliseconds_and_as_dates(tmp_path):
    frames = scene(16)
    rows = [",".join(f"{v:.2f}" for v in frame.ravel()) for frame in frames]
    names = ",".join(f"P{i}" for i in range(256))
    by_unit = {"time_ms": [str(100 * i) for i in range(16)], "date": [f"2024/01/02 03:04:{i:02}" for i in range(16)]}
    for header, times in by_unit.items():
        lines = [f"{header},{names}".replace("time_ms", "time (ms)"), *map(",".join, zip(times, rows, strict=True))]
        (tmp_path / "a.csv").write_text("\n".join(lines))
        step = 0.1 if header == "time_ms" else 1.0
        assert read_video(tmp_path / "a.csv").timestamps_s == pytest.approx(np.arange(16) * step, abs=1e-6)


def test_times_that_repeat_are_spread_and_times_that_run_backwards_are_not_used():
    whole = ThermalArray(scene(), np.floor(np.arange(40) / 9))
    video = read_video(whole)
    assert video.fps == pytest.approx(9, abs=0.01)
    assert video.timestamps_s == pytest.approx(np.arange(40) / 9, abs=0.01)
    assert video.notes == ("some times repeat; their frames are spaced evenly",)
    once = TIMES.copy()
    once[20] = once[19]
    assert read_video(ThermalArray(scene(), once)).fps == pytest.approx(39 / (TIMES[-1] - TIMES[0]), abs=1e-6)
    for times in (TIMES[::-1], np.zeros(40), np.where(np.arange(40) == 5, np.nan, TIMES)):
        video = read_video(ThermalArray(scene(), times, fps=8.0))
        assert video.fps == 8.0
        assert video.notes == ("the times do not increase; 8 frames/s is assumed",)
    assert read_video(ThermalArray(scene(1), np.array([3.0]))).fps == 10.0


def test_missing_pixels_and_other_columns_of_a_log(tmp_path):
    frames = np.round(scene(16, 8, 8), 2)

    def rows(begin, end=""):
        cells = [[*begin(i), *(f"{v:.2f}" for v in frame.ravel())] for i, frame in enumerate(frames)]
        return [",".join(row) + end for row in cells]

    def video_of(lines):
        (tmp_path / "a.csv").write_text("\n".join(lines))
        return read_video(tmp_path / "a.csv")

    names = ",".join(f"P{i}" for i in range(64))
    numbered = video_of([f"frame,sensor temp,time_s,{names}", *rows(lambda i: (str(i), "25.1", f"{i / 8}"))])
    assert np.array_equal(numbered.frames, expected(frames))
    assert numbered.fps == pytest.approx(8)
    ended = video_of(rows(lambda i: (f"{i / 8}",), ","))
    assert np.array_equal(ended.frames, expected(frames))
    assert ended.fps == pytest.approx(8)
    lines = [f"time,{names}", *(line.rpartition(",")[0] + "," for line in rows(lambda i: (f"{i / 8}",)))]
    missing = video_of(lines)
    assert missing.notes == ("dead pixels replaced by their neighbours' median (1): (7, 7)",)
    assert missing.frames.shape == (16, 8, 8)
    assert np.abs(missing.frames[:, :7].astype(int) - expected(frames)[:, :7]).max() <= 1


def test_damaged_files_are_refused_in_one_line(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", clip=scene())
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(data)
    np.save(tmp_path / "b.npy", scene())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:500])
    (tmp_path / "b.npy").rename(tmp_path / "renamed.npz")
    (tmp_path / "a.npz").rename(tmp_path / "renamed.npy")
    for name in ("flipped.npz", "cut.npy"):
        with pytest.raises(VideoError, match=rf"{name}: not a readable NumPy file \(.*\); expected an array"):
            read_video(tmp_path / name)
    assert len(read_video(tmp_path / "renamed.npz").frames) == 40
    with pytest.raises(VideoError, match="no value is a number"):
        read_video(ThermalArray(np.full((4, 8, 8), np.nan)))
    with pytest.raises(VideoError, match="fps is -3"):
        ThermalArray(scene(), fps=-3)
    with pytest.raises(VideoError, match="a list; expected a NumPy array"):
        ThermalArray([[1, 2]])


def test_warm_up_is_held_and_reported():
    frames = scene()
    frames[:12] -= np.linspace(24, 1, 12)[:, None, None].astype(np.float32)
    held, count = hold_warm_up(frames)
    assert count == 12
    assert np.array_equal(held[:12], np.repeat(frames[12:13], 12, axis=0))
    assert np.array_equal(held[12:], frames[12:])
    video = read_video(ThermalArray(frames))
    assert video.notes == ("the first 12 frames are sensor warm-up; frame 12 replaces them",)
    assert hold_warm_up(scene())[1] == 0


def test_dead_pixels_are_replaced_and_reported():
    frames = scene()
    frames[:, 3, 4] = 24.0
    frames[:, 9, 1] = np.nan
    frames[:, 0, 15] += 80
    frames[7, 5, 5] = np.nan
    whole, dead = replace_dead_pixels(frames)
    assert dead == [(0, 15), (3, 4), (9, 1)]
    assert np.isfinite(whole).all()
    around = np.delete(frames[20, 2:5, 3:6].ravel(), 4)
    assert whole[20, 3, 4] == pytest.approx(np.median(around), abs=1e-4)
    (note,) = read_video(ThermalArray(frames)).notes
    assert note == "dead pixels replaced by their neighbours' median (3): (0, 15), (3, 4), (9, 1)"
    assert replace_dead_pixels(scene())[1] == []


def test_what_is_no_thermal_array_is_refused(tmp_path):
    def refused(source, pattern):
        with pytest.raises(VideoError, match=pattern):
            read_video(source)

    refused_arrays = {
        r"shape \[16, 16\]; expected frames \[T, H, W\]": (scene()[0],),
        "an array of int64; expected temperatures": (scene().astype(int),),
        "39 times for 40 frames": (scene(), TIMES[1:]),
    }
    for pattern, arguments in refused_arrays.items():
        with pytest.raises(VideoError, match=pattern):
            ThermalArray(*arguments)
    refused(ThermalArray(scene() * 1000), "expected temperatures in °C or K")
    np.savez(tmp_path / "two.npz", a=scene(), b=scene())
    refused(tmp_path / "two.npz", r"contains a \[40, 16, 16\], b \[40, 16, 16\]; expected one array")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY broken")
    refused(tmp_path / "broken.npy", "not a readable NumPy file")
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    refused(tmp_path / "words.csv", "no rows of numbers")
    (tmp_path / "odd.csv").write_text(",".join(map(str, range(301))))
    refused(tmp_path / "odd.csv", "301 columns; no known sensor")
    path = write_csv(tmp_path / "cut.csv", scene(4), TIMES[:4])
    path.write_text(path.read_text()[:-30])
    refused(path, r"line 6 has 25\d columns, the rows before it 258")
    path.write_text(write_csv(path, scene(4), TIMES[:4]).read_text() + "stopped by user\n")
    refused(path, "line 7 is not a row of numbers: 'stopped by user'")


def test_a_published_log_equals_its_archive():
    raw = SHARED / "fir16" / "raw" / "20170203_p1_light4.csv"
    if not raw.is_file():
        pytest.skip(f"no recording at {raw}")
    log = read_video(raw)
    with np.load(raw.parents[1] / "20170203.npz") as days:
        array = ThermalArray(days[raw.stem], days[f"{raw.stem}.time_s"])
    assert log.frames.shape[1:] == (16, 16)
    assert np.array_equal(log.frames, read_video(array).frames)
    assert log.notes == read_video(array).notes
    assert "are sensor warm-up" in log.notes[0]
    assert log.fps == pytest.approx(8.95, abs=0.1)
