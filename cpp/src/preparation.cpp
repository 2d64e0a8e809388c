// All arithmetic on pixels is in integers, so the bytes equal Python's; times are computed in the same order.
#include "preparation.h"

#include <algorithm>
#include <cmath>

namespace infdet::detail {
namespace {

constexpr int32_t kBackgroundLevel = 64; // of a pixel at its background's temperature
constexpr size_t kBackgroundS = 120;     // the background is a quartile of this many seconds
constexpr double kSlackS = 1e-6;         // times that differ by less are equal: sums of 1/rate are not exact
constexpr unsigned kWeights = 256;       // weights are multiples of 1/256

// The first of the quantiles that divide the values in `parts`: for 2 the median, for 4 the lower quartile. It is a value
// that occurs, the lower of two. Changes the values' order.
template <class Value> Value lower_quantile(std::vector<Value> &values, size_t parts) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / parts);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

} // namespace

template <class Pixel>
void BackgroundLevels<Pixel>::push(const Pixel *frame, double time_s, const FrameSink &sink) {
  if (samples_.empty()) start_s_ = due_s_ = time_s;
  if (holds_ && time_s >= start_s_ + static_cast<double>(kBackgroundS)) finish(sink);
  if (time_s >= due_s_) {
    if (samples_.size() == kBackgroundS) samples_.pop_front();
    samples_.emplace_back(frame, frame + pixels_);
    background_.clear();
    due_s_ = start_s_ + std::floor(time_s - start_s_) + 1;
  }
  if (holds_)
    held_.emplace_back(std::vector<Pixel>(frame, frame + pixels_), time_s);
  else
    show(frame, time_s, sink);
}

template <class Pixel> bool BackgroundLevels<Pixel>::finish(const FrameSink &sink) {
  const bool any = !held_.empty();
  holds_ = false;
  for (; !held_.empty(); held_.pop_front()) show(held_.front().first.data(), held_.front().second, sink);
  return any;
}

template <class Pixel> void BackgroundLevels<Pixel>::find_background() {
  background_.resize(pixels_);
  std::vector<Pixel> values(samples_.size());
  for (size_t pixel = 0; pixel < pixels_; ++pixel) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = samples_[i][pixel];
    background_[pixel] = lower_quantile(values, 4);
  }
}

template <class Pixel> void BackgroundLevels<Pixel>::show(const Pixel *frame, double time_s, const FrameSink &sink) {
  if (background_.empty()) find_background();
  change_.resize(pixels_);
  levels_.resize(pixels_);
  for (size_t i = 0; i < pixels_; ++i) change_[i] = frame[i] - background_[i];
  sorted_ = change_;
  const int32_t common = lower_quantile(sorted_, 2); // the sensor's drift
  for (size_t i = 0; i < pixels_; ++i) {
    int32_t change = change_[i] - common;
    if (sizeof(Pixel) == 2) change >>= 1; // hundredths of a kelvin to 50 levels a kelvin, rounded down
    levels_[i] = static_cast<uint8_t>(std::clamp(change + kBackgroundLevel, 0, 255));
  }
  sink(levels_.data(), time_s);
}

void Resampler::push(const uint8_t *frame, double time_s, const FrameSink &sink) {
  if (!count_) {
    before_.assign(frame, frame + pixels_);
    mixed_.resize(pixels_);
    start_s_ = before_s_ = time_s;
    count_ = 1;
    sink(frame, time_s);
    return;
  }
  const double step_s = time_s - before_s_;
  if (step_s <= 0) return;
  for (;;) {
    const double at_s = start_s_ + static_cast<double>(count_) / rate_;
    if (!(at_s <= time_s + kSlackS)) break;
    const double share = (at_s - before_s_) / step_s * kWeights + 0.5;
    const unsigned after = static_cast<unsigned>(std::min(share, static_cast<double>(kWeights)));
    for (size_t i = 0; i < pixels_; ++i)
      mixed_[i] = static_cast<uint8_t>((before_[i] * (kWeights - after) + frame[i] * after + kWeights / 2) >> 8);
    ++count_;
    sink(mixed_.data(), at_s);
  }
  std::copy_n(frame, pixels_, before_.begin());
  before_s_ = time_s;
}

template <class Pixel>
Preparation<Pixel>::Preparation(const Bundle &bundle, size_t height, size_t width, bool causal, FrameSink sink)
    : resizer_(height, width, static_cast<size_t>(bundle.size), bundle.mode),
      resized_(static_cast<size_t>(bundle.size) * static_cast<size_t>(bundle.size)), sink_(std::move(sink)),
      after_levels_([this](const uint8_t *frame, double time_s) { at_rate(frame, time_s); }) {
  if (bundle.levels == Levels::background) levels_.emplace(resized_.size(), causal);
  if (bundle.frame_rate) resampler_.emplace(resized_.size(), *bundle.frame_rate);
}

template <class Pixel> void Preparation<Pixel>::push(const Pixel *picture, double time_s) {
  resizer_.apply(picture, resized_.data());
  if (levels_)
    levels_->push(resized_.data(), time_s, after_levels_);
  else if constexpr (sizeof(Pixel) == 1) // 16-bit pictures are refused earlier where there are no levels
    at_rate(resized_.data(), time_s);
}

template <class Pixel> bool Preparation<Pixel>::finish() { return levels_ && levels_->finish(after_levels_); }

template <class Pixel> void Preparation<Pixel>::at_rate(const uint8_t *frame, double time_s) {
  if (resampler_)
    resampler_->push(frame, time_s, sink_);
  else
    sink_(frame, time_s);
}

template class BackgroundLevels<uint8_t>;
template class BackgroundLevels<uint16_t>;
template class Preparation<uint8_t>;
template class Preparation<uint16_t>;

} // namespace infdet::detail
