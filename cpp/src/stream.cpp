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

double checked_fps(double fps) {
  if (!(fps >= kMinFps && fps <= kMaxFps))
    throw Error(INFDET_ERROR_ARGUMENT,
                "fps is " + std::to_string(fps) + ", expected frames per second, 0.000001 to 1000000");
  return fps;
}

std::string size_text(size_t width, size_t height) { return std::to_string(width) + "x" + std::to_string(height); }

} // namespace

Stream::Stream(std::shared_ptr<const Model> model, double fps)
    : model_(std::move(model)), fps_(checked_fps(fps)),
      frame_bytes_(static_cast<size_t>(model_->bundle.size) * static_cast<size_t>(model_->bundle.size)) {}

void Stream::check_open() const {
  if (state_ == State::flushed)
    throw Error(INFDET_ERROR_STATE, "the stream was flushed; open another one for more frames");
  if (state_ == State::failed) throw Error(INFDET_ERROR_STATE, "the stream failed before; open another one");
}

void Stream::push(const uint8_t *frames, size_t count, size_t height, size_t width) {
  check_open();
  if (!height || !width || height > kMaxSide || width > kMaxSide)
    throw Error(INFDET_ERROR_ARGUMENT, "frames are " + size_text(width, height) + " pixels, expected 1 to " +
                                           std::to_string(kMaxSide) + " each way");
  if (count > SIZE_MAX / (height * width)) throw Error(INFDET_ERROR_ARGUMENT, "more frames than memory can hold");
  if (!resizer_) {
    resizer_.emplace(height, width, static_cast<size_t>(model_->bundle.size), model_->bundle.mode);
    height_ = height, width_ = width;
  } else if (height != height_ || width != width_) {
    throw Error(INFDET_ERROR_FRAMES, "a frame is " + size_text(width, height) + ", earlier frames are " +
                                         size_text(width_, height_) + "; open a new stream for a new size");
  }
  state_ = State::failed; // until the work succeeds
  expect(count);
  for (size_t i = 0; i < count; ++i) {
    resizer_->apply(frames + i * height * width, next());
    ++received_;
    added();
  }
  state_ = State::open;
}

void Stream::flush() {
  check_open();
  if (received_ < kMinFrames)
    throw Error(INFDET_ERROR_FRAMES, "clip has " + std::to_string(received_) + " frames; at least " +
                                         std::to_string(kMinFrames) + " are needed");
  state_ = State::failed; // until the work succeeds
  finish();
  state_ = State::flushed;
}

std::optional<infdet_detection> Stream::poll() {
  if (found_.empty()) return std::nullopt;
  infdet_detection next = found_.front();
  found_.pop_front();
  return next;
}

void Stream::found(const std::vector<infdet_detection> &detections) {
  found_.insert(found_.end(), detections.begin(), detections.end());
}

ClipStream::ClipStream(std::shared_ptr<const Model> model, double fps) : Stream(std::move(model), fps) {
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
  const std::vector<float> scores = model_->scores(infrared_, flow_, received_ / kFramesPerSnippet);
  const double duration_s = static_cast<double>(received_) / fps_;
  if (model_->bundle.recognition) {
    found({recognise(scores, classes, duration_s)});
    return;
  }
  const double snippets_per_second = static_cast<double>(received_ / kFramesPerSnippet) / duration_s;
  found(detect(scores, classes, model_->bundle.rule, snippets_per_second));
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
    : Stream(std::move(model), fps), steps_(live(*model_)),
      window_(*model_, fps_, checked_window(window_s), checked_every(every)) {}

void LiveStream::added() {
  if (steps_.added(window_.infrared, window_.flow)) found(window_.look());
}

void LiveStream::finish() {
  steps_.finish(received_ / kStep * kStep, window_.infrared, window_.flow);
  found(window_.finish(received_));
}

} // namespace infdet::detail
