// Pictures of one size to frames of the network, byte for byte like Python's video/preparation.py: resized, as levels
// relative to the background, and at the network's frame rate, as the bundle demands.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "bundle.h"
#include "resize.h"

namespace infdet::detail {

// Takes a frame, uint8 [pixels], and its time in seconds.
using FrameSink = std::function<void(const uint8_t *frame, double time_s)>;

// Grey levels relative to each pixel's background, 50 levels a kelvin: Python's video/background.py explains them.
// Pixel: uint16_t in hundredths of a kelvin, or uint8_t with 50 levels a kelvin.
template <class Pixel> class BackgroundLevels {
public:
  // causal: use past frames only, as a camera must. Otherwise the frames of the first 120 s are held until these are
  // over, and have the background of all of them.
  BackgroundLevels(size_t pixels, bool causal) : pixels_(pixels), holds_(!causal) {}

  // Add a frame, [pixels]; frames that are ready go to `sink`. Times do not decrease.
  void push(const Pixel *frame, double time_s, const FrameSink &sink);

  // Pass on the frames that are still held, at the end of a recording. Returns whether there were any.
  bool finish(const FrameSink &sink);

private:
  void find_background();
  void show(const Pixel *frame, double time_s, const FrameSink &sink);

  const size_t pixels_;
  bool holds_;
  std::deque<std::pair<std::vector<Pixel>, double>> held_; // with their times
  std::deque<std::vector<Pixel>> samples_;                 // one a second, of the last 120
  std::vector<int32_t> background_;                        // the samples' quartile; empty if it must be computed
  std::vector<int32_t> change_, sorted_;                   // of one frame
  std::vector<uint8_t> levels_;                            // of one frame
  double start_s_ = 0, due_s_ = 0;                         // of the first frame; of the next sample
};

// Frames at a constant rate from frames at any times, by linear interpolation: Python's video/resampling.py.
class Resampler {
public:
  // rate: frames per second.
  Resampler(size_t pixels, double rate) : pixels_(pixels), rate_(rate) {}

  // Add a frame, uint8 [pixels]; the frames after the previous one, up to this one, go to `sink`. A frame that is not
  // later than the previous one is left out.
  void push(const uint8_t *frame, double time_s, const FrameSink &sink);

private:
  const size_t pixels_;
  const double rate_;
  size_t count_ = 0; // frames passed on
  std::vector<uint8_t> before_, mixed_;
  double start_s_ = 0, before_s_ = 0;
};

// All steps for pictures of one size and type. Used by one thread at a time.
template <class Pixel> class Preparation {
public:
  // causal: levels depend on past frames only. sink: takes the network's frames.
  Preparation(const Bundle &bundle, size_t height, size_t width, bool causal, FrameSink sink);
  Preparation(const Preparation &) = delete; // after_levels_ calls this object

  // Add a picture, [height, width]. Times are in seconds on any clock and do not decrease.
  void push(const Pixel *picture, double time_s);

  // End of the pictures. Returns whether any frames were held until now.
  bool finish();

private:
  void at_rate(const uint8_t *frame, double time_s);

  Resizer resizer_;
  std::vector<Pixel> resized_;
  std::optional<BackgroundLevels<Pixel>> levels_;
  std::optional<Resampler> resampler_;
  const FrameSink sink_, after_levels_;
};

} // namespace infdet::detail
