// Frames as they come -> detections. A whole clip is a stream that is pushed at once.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "model.h"
#include "resize.h"

namespace infdet::detail {

// Features are computed chunk by chunk as soon as a chunk with its halo is there, and its frames are dropped; the cuts
// are those of Python's pipeline, and so are the numbers. Used by one thread at a time.
class Stream {
public:
  // fps: frames a second. Throws Error where it is none.
  Stream(std::shared_ptr<const Model> model, double fps);

  // frames: uint8 [count, height, width]. Throws Error for a size that differs, after a flush, and where computing
  // fails, after which nothing more can be pushed.
  void push(const uint8_t *frames, size_t count, size_t height, size_t width);

  // The detections of all frames, by class, then time; they are polled one by one.
  void flush();
  std::optional<infdet_detection> poll();

private:
  enum class State { open, flushed, failed };
  void add(const uint8_t *frame);
  void compute(size_t snippets, size_t stop, bool ends);
  void finish();
  void check_open() const;

  const std::shared_ptr<const Model> model_;
  const double fps_;
  const size_t frame_bytes_;
  State state_ = State::open;
  size_t height_ = 0, width_ = 0;
  std::optional<Resizer> resizer_;
  size_t received_ = 0;         // frames pushed
  size_t dropped_ = 0;          // of them, those whose bytes are no longer needed
  std::vector<uint8_t> window_; // the others, as the network takes them
  size_t snippet_ = 0;          // the first whose features are still to compute
  Features infrared_, flow_;
  std::deque<infdet_detection> found_;
};

} // namespace infdet::detail
