#include "stream.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace infdet::detail {
namespace {

// The receptive field of a feature is 107 frames, 108 through the flow tower: at most 46 frames before and after its own
// 16. Rounded up to whole snippets, this halo gives a chunk the same features as the whole clip.
constexpr size_t kHaloFrames = 56;
constexpr size_t kStep = 4; // clip lengths are cut to a multiple of this

constexpr double kMinFps = 1e-6, kMaxFps = 1e6;
constexpr double kMaxWindowS = 366 * 86400;
constexpr double kMostBetween = 1e6; // interpolated frames between two; more would compute without an end in sight

double checked_fps(double fps) {
  if (!(fps >= kMinFps && fps <= kMaxFps))
    throw Error(INFDET_ERROR_ARGUMENT,
                "fps is " + std::to_string(fps) + ", expected frames per second, 0.000001 to 1000000");
  return fps;
}

// Frames per second that the network sees.
double network_fps(const Bundle &bundle, double fps) {
  const double rate = bundle.frame_rate.value_or(fps);
  if (!(rate >= kMinFps && rate <= kMaxFps))
    throw Error(INFDET_ERROR_BUNDLE, bundle.path + " has a frame_rate of " + std::to_string(rate) +
                                         ", expected 0.000001 to 1000000; export it again");
  return rate;
}

std::string time_text(size_t index, double time_s) {
  return "times_s[" + std::to_string(index) + "] is " + std::to_string(time_s);
}

// Ends a preparation, if there is one; returns whether it held frames.
struct Finish {
  bool operator()(std::monostate) const { return false; }
  template <class Steps> bool operator()(Steps &steps) const { return steps.finish(); }
};

std::string size_text(size_t width, size_t height) { return std::to_string(width) + "x" + std::to_string(height); }

} // namespace

Stream::Stream(std::shared_ptr<const Model> model, double fps, bool causal)
    : model_(std::move(model)), fps_(network_fps(model_->bundle, checked_fps(fps))),
      frame_bytes_(static_cast<size_t>(model_->bundle.size) * static_cast<size_t>(model_->bundle.size)), pushed_fps_(fps),
      causal_(causal) {}

void Stream::check_open() const {
  if (state_ == State::flushed)
    throw Error(INFDET_ERROR_STATE, "the stream was flushed; open another one for more frames");
  if (state_ == State::failed) throw Error(INFDET_ERROR_STATE, "the stream failed before; open another one");
}

void Stream::check_times(const double *times_s, size_t count) const {
  if (pushed_ && timed_ != (times_s != nullptr))
    throw Error(INFDET_ERROR_FRAMES, timed_ ? "frames without times, earlier frames have times; give all frames times"
                                            : "frames with times, earlier frames have none; open a new stream");
  double before = last_s_;
  for (size_t i = 0; times_s && i < count; ++i) {
    const bool first = !pushed_ && !i;
    if (!std::isfinite(times_s[i])) throw Error(INFDET_ERROR_ARGUMENT, time_text(i, times_s[i]) + ", expected seconds");
    if (!first && times_s[i] < before)
      throw Error(INFDET_ERROR_ARGUMENT, time_text(i, times_s[i]) + ", the frame before has " + std::to_string(before) +
                                             "; expected times that do not decrease");
    if (!first) check_gap(times_s[i] - before);
    before = times_s[i];
  }
  if (!times_s) check_gap(1 / pushed_fps_);
}

void Stream::check_gap(double gap_s) const {
  if (gap_s * model_->bundle.frame_rate.value_or(0) > kMostBetween)
    throw Error(INFDET_ERROR_ARGUMENT, "a frame lies " + std::to_string(gap_s) +
                                           " s after the frame before it; flush the stream and open another one");
}

// The steps for frames of this type and size, the same for the whole stream.
template <class Pixel> Preparation<Pixel> &Stream::preparation(size_t height, size_t width) {
  if (std::holds_alternative<std::monostate>(preparation_)) {
    height_ = height, width_ = width;
    return preparation_.emplace<Preparation<Pixel>>(model_->bundle, height, width, causal_,
                                                    [this](const uint8_t *frame, double) { prepared(frame); });
  }
  auto *found = std::get_if<Preparation<Pixel>>(&preparation_);
  if (!found)
    throw Error(INFDET_ERROR_FRAMES, std::string("frames of ") + (sizeof(Pixel) == 2 ? "16 bits, earlier frames have 8"
                                                                                     : "8 bits, earlier frames have 16") +
                                         "; open a new stream for another type");
  if (height != height_ || width != width_)
    throw Error(INFDET_ERROR_FRAMES, "a frame is " + size_text(width, height) + ", earlier frames are " +
                                         size_text(width_, height_) + "; open a new stream for a new size");
  return *found;
}

template <class Pixel>
void Stream::push(const Pixel *frames, size_t count, size_t height, size_t width, const double *times_s) {
  check_open();
  if (sizeof(Pixel) == 2 && model_->bundle.levels == Levels::range)
    throw Error(INFDET_ERROR_ARGUMENT, model_->bundle.path + " maps the range of a whole recording to grey levels; map "
                                                             "16-bit frames to 8 bits first, then push those");
  if (!height || !width || height > kMaxSide || width > kMaxSide)
    throw Error(INFDET_ERROR_ARGUMENT, "frames are " + size_text(width, height) + " pixels, expected 1 to " +
                                           std::to_string(kMaxSide) + " each way");
  if (count > SIZE_MAX / sizeof(Pixel) / (height * width))
    throw Error(INFDET_ERROR_ARGUMENT, "more frames than memory can hold");
  check_times(times_s, count);
  Preparation<Pixel> &steps = preparation<Pixel>(height, width);
  state_ = State::failed; // until the work succeeds
  expect(count);
  // as in Python, the times of a recording count from its first frame, those of a camera are absolute: rounding differs
  if (times_s && count && !pushed_) timed_ = true, origin_s_ = causal_ ? 0 : times_s[0];
  for (size_t i = 0; i < count; ++i) {
    const double time_s = times_s ? times_s[i] - origin_s_ : static_cast<double>(pushed_) / pushed_fps_;
    steps.push(frames + i * height * width, time_s);
    ++pushed_;
  }
  if (times_s && count) last_s_ = times_s[count - 1];
  state_ = State::open;
}

template void Stream::push(const uint8_t *, size_t, size_t, size_t, const double *);
template void Stream::push(const uint16_t *, size_t, size_t, size_t, const double *);

void Stream::prepared(const uint8_t *frame) {
  std::copy_n(frame, frame_bytes_, next());
  ++received_;
  added();
}

void Stream::flush() {
  check_open();
  state_ = State::failed; // until the work succeeds
  const bool held = std::visit(Finish(), preparation_);
  if (received_ < kMinFrames) {
    if (!held) state_ = State::open; // nothing was changed: more frames may follow
    throw Error(INFDET_ERROR_FRAMES, "clip has " + std::to_string(received_) + " frames; at least " +
                                         std::to_string(kMinFrames) + " are needed");
  }
  finish();
  state_ = State::flushed;
}

std::optional<infdet_detection> Stream::poll() {
  if (found_.empty()) return std::nullopt;
  infdet_detection next = found_.front();
  found_.pop_front();
  return next;
}

void Stream::computed(size_t snippets) const {
  if (progress_ && progress_(snippets)) throw Error(INFDET_ABORTED, "stopped by the progress callback; open another stream");
}

void Stream::found(const std::vector<infdet_detection> &detections) {
  found_.insert(found_.end(), detections.begin(), detections.end());
}

ClipStream::ClipStream(std::shared_ptr<const Model> model, double fps) : Stream(std::move(model), fps, false) {
  if (model_->live)
    throw Error(INFDET_ERROR_ARGUMENT, "this model was opened for live streams; for clips set options.live to 0");
}

void ClipStream::expect(size_t count) {
  const size_t held = window_.size() / frame_bytes_;
  const size_t most = model_->chunk_snippets * kFramesPerSnippet + 2 * kHaloFrames + 2 * kStep;
  if (count > 1) window_.reserve(std::min(held + count + 1, std::max(held, most)) * frame_bytes_);
}

uint8_t *ClipStream::next() {
  window_.resize(window_.size() + frame_bytes_);
  return window_.data() + window_.size() - frame_bytes_;
}

void ClipStream::added() {
  // A clip that fits into one chunk with both halos is computed at once.
  const size_t snippets = model_->chunk_snippets;
  const size_t whole = snippets * kFramesPerSnippet + 2 * kHaloFrames;
  const size_t stop = (snippet_ + snippets + 1) * kFramesPerSnippet + kHaloFrames;
  if (received_ < std::max(whole, stop) + kStep) return;
  compute(snippets, stop, false);
  const size_t next = snippet_ * kFramesPerSnippet;
  const size_t needed_from = next > kHaloFrames ? next - kHaloFrames : 0;
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>((needed_from - dropped_) * frame_bytes_));
  dropped_ = needed_from;
}

// Compute the next `snippets` features from frames up to `stop`.
void ClipStream::compute(size_t snippets, size_t stop, bool ends) {
  const size_t own = snippet_ * kFramesPerSnippet;
  const size_t start = own > kHaloFrames ? own - kHaloFrames : 0;
  const size_t first = snippet_ - start / kFramesPerSnippet;
  const FrameRange range{window_.data() + (start - dropped_) * frame_bytes_, stop - start, ends};
  model_->features(range, first, first + snippets, infrared_, flow_);
  snippet_ += snippets;
  computed(snippet_);
}

void ClipStream::finish() {
  const size_t frames = received_ / kStep * kStep, total = feature_length(frames);
  const size_t chunk = model_->chunk_snippets;
  const bool whole = frames <= chunk * kFramesPerSnippet + 2 * kHaloFrames;
  window_.resize((frames - dropped_ + 1) * frame_bytes_);
  // there is no next frame; repeat the last one, its flow is set to zero
  std::copy_n(window_.end() - static_cast<std::ptrdiff_t>(2 * frame_bytes_), frame_bytes_,
              window_.end() - static_cast<std::ptrdiff_t>(frame_bytes_));
  while (snippet_ < total) {
    size_t snippets = whole ? total : std::min(chunk, total - snippet_);
    size_t stop = std::min((snippet_ + snippets + 1) * kFramesPerSnippet + kHaloFrames, frames);
    compute(snippets, stop, stop == frames);
  }
  std::vector<uint8_t>().swap(window_);
  const size_t classes = model_->bundle.classes.size();
  scores_ = model_->scores(infrared_, flow_, received_ / kFramesPerSnippet);
  const DetectionRule &rule = model_->bundle.rule;
  if (model_->bundle.recognition)
    found({recognise(scores_, classes, static_cast<double>(received_) / fps_)});
  else
    found(detect(scores_, classes, rule, rule.snippets_per_second(received_, fps_)));
}

namespace {

double checked_window(double window_s) {
  if (!(window_s > 0 && window_s <= kMaxWindowS))
    throw Error(INFDET_ERROR_ARGUMENT,
                "window_s is " + std::to_string(window_s) + ", expected more than 0 and at most a year");
  return window_s;
}

size_t checked_every(int32_t every) {
  if (every < 1 || every > 4096)
    throw Error(INFDET_ERROR_ARGUMENT, "every_snippets is " + std::to_string(every) + ", expected 1 to 4096");
  return static_cast<size_t>(every);
}

const Model &live(const Model &model) {
  if (!model.live)
    throw Error(INFDET_ERROR_ARGUMENT, "this model was opened for clips; for live streams set options.live to 1");
  return model;
}

} // namespace

LiveStream::LiveStream(std::shared_ptr<const Model> model, double fps, double window_s, int32_t every)
    : Stream(std::move(model), fps, true), steps_(live(*model_)),
      window_(*model_, fps_, checked_window(window_s), checked_every(every)) {}

void LiveStream::added() {
  if (!steps_.added(window_.infrared, window_.flow)) return;
  found(window_.look());
  computed(received_ / kFramesPerSnippet);
}

void LiveStream::finish() {
  steps_.finish(received_ / kStep * kStep, window_.infrared, window_.flow);
  found(window_.finish(received_));
}

} // namespace infdet::detail
