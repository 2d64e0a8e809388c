// Parts of the library that have no function in infdet.h, for the tests that compare them with Python's.
#include <algorithm>
#include <cstring>

#include "decisions.h"
#include "error.h"
#include "infdet.h"
#include "preparation.h"

using namespace infdet::detail;

namespace {

DetectionRule rule_of(size_t classes, const double *thresholds, const double *mean_duration_s, int split_long,
                      int interpolated) {
  return {{thresholds, thresholds + classes},
          {mean_duration_s, mean_duration_s + classes},
          split_long != 0,
          interpolated ? Ends::interpolated : Ends::published};
}

// Stores the first `most` frames; `count` is the number of all.
struct Frames {
  uint8_t *pixels;
  double *times_s;
  size_t most, frame_bytes, count = 0;
  void add(const uint8_t *frame, double time_s) {
    if (count < most) {
      std::copy_n(frame, frame_bytes, pixels + count * frame_bytes);
      times_s[count] = time_s;
    }
    ++count;
  }
};

template <class Pixel>
size_t prepare(const Bundle &bundle, bool causal, const Pixel *pictures, const double *times_s, size_t count,
               size_t height, size_t width, Frames &ready) {
  Preparation<Pixel> steps(bundle, height, width, causal,
                           [&](const uint8_t *frame, double time_s) { ready.add(frame, time_s); });
  for (size_t i = 0; i < count; ++i) steps.push(pictures + i * height * width, times_s[i]);
  steps.finish();
  return ready.count;
}

} // namespace

extern "C" {

// Checks a bundle as infdet_open does before it opens a stage. Returns whether it is accepted; if not, `why` has up to
// `most` bytes of the message.
INFDET_API int parity_accepts(const char *bundle, char *why, size_t most) {
  *why = '\0';
  try {
    load_bundle(bundle);
    return 1;
  } catch (const Error &error) {
    std::strncat(why, error.what(), most - 1);
    return 0;
  }
}

// Pictures of `bytes` bytes a pixel, [count, height, width], to at most `most` frames, uint8 [size, size], with their
// times. Returns the number of frames. rate 0: keep the frames.
INFDET_API size_t parity_prepare(const void *pictures, const double *times_s, size_t bytes, size_t count, size_t height,
                                 size_t width, int size, int crop, int background, double rate, int causal,
                                 uint8_t *frames, double *frame_times_s, size_t most) {
  Bundle bundle;
  bundle.size = size;
  bundle.mode = crop ? FrameMode::crop : FrameMode::resize;
  bundle.levels = background ? Levels::background : Levels::range;
  if (rate > 0) bundle.frame_rate = rate;
  Frames ready{frames, frame_times_s, most, static_cast<size_t>(size) * static_cast<size_t>(size)};
  if (bytes == 2)
    return prepare(bundle, causal, static_cast<const uint16_t *>(pictures), times_s, count, height, width, ready);
  return prepare(bundle, causal, static_cast<const uint8_t *>(pictures), times_s, count, height, width, ready);
}

INFDET_API void parity_resize16(const uint16_t *frame, size_t height, size_t width, size_t size, int crop,
                                uint16_t *resized) {
  Resizer(height, width, size, crop ? FrameMode::crop : FrameMode::resize).apply(frame, resized);
}

// scores: float [snippets, classes]. found: room for 2 * snippets * classes detections. Returns their number.
INFDET_API size_t parity_detect(const float *scores, size_t snippets, size_t classes, const double *thresholds,
                                const double *mean_duration_s, int split_long, int interpolated, size_t frames,
                                double fps, infdet_detection *found) {
  const DetectionRule rule = rule_of(classes, thresholds, mean_duration_s, split_long, interpolated);
  const auto all = detect({scores, scores + snippets * classes}, classes, rule, rule.snippets_per_second(frames, fps));
  std::copy(all.begin(), all.end(), found);
  return all.size();
}

INFDET_API void *parity_decisions(size_t classes, const double *thresholds, const double *mean_duration_s,
                                  int split_long, int interpolated) {
  return new Decisions(rule_of(classes, thresholds, mean_duration_s, split_long, interpolated));
}

// As parity_detect, but begin and stop are in snippets.
INFDET_API size_t parity_decide(void *decisions, const float *scores, size_t snippets, size_t classes, int64_t first,
                                double snippets_per_second, int final, infdet_detection *found) {
  const std::vector<float> window(scores, scores + snippets * classes);
  const auto all = static_cast<Decisions *>(decisions)->decide(window, first, snippets_per_second, final != 0);
  for (const Decided &one : all) *found++ = {one.begin, one.stop, one.score, static_cast<int32_t>(one.label), 0};
  return all.size();
}

INFDET_API void parity_forget(void *decisions) { delete static_cast<Decisions *>(decisions); }
}
