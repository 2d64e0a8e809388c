// Frames as they come -> detections: of the whole clip after its end, or as they become certain.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "model.h"
#include "resize.h"
#include "steps.h"
#include "window.h"

namespace infdet::detail {

// Used by one thread at a time.
class Stream {
public:
  virtual ~Stream() = default;

  // frames: uint8 [count, height, width]. Throws Error for a size that differs, after a flush, and where computing
  // fails, after which nothing more can be pushed.
  void push(const uint8_t *frames, size_t count, size_t height, size_t width);

  // No more frames will come: what is left is computed.
  void flush();

  // The next detection that has been found.
  std::optional<infdet_detection> poll();

protected:
  // fps: frames a second. Throws Error where it is none.
  Stream(std::shared_ptr<const Model> model, double fps);

  virtual void expect(size_t) {}    // so many frames are about to come
  virtual uint8_t *next() = 0;      // where the next frame is to be written, as the network takes it
  virtual void added() = 0;         // it was written, and is counted in received_
  virtual void finish() = 0;
  void found(const std::vector<infdet_detection> &detections);

  const std::shared_ptr<const Model> model_;
  const double fps_;
  const size_t frame_bytes_;
  size_t received_ = 0; // frames pushed

private:
  enum class State { open, flushed, failed };
  void check_open() const;

  State state_ = State::open;
  size_t height_ = 0, width_ = 0;
  std::optional<Resizer> resizer_;
  std::deque<infdet_detection> found_;
};

// A clip: all detections come after the flush, by class, then time. Features are computed chunk by chunk as soon as a
// chunk with its halo is there, and its frames are dropped; the cuts are those of Python's pipeline, and so are the
// numbers.
class ClipStream : public Stream {
public:
  ClipStream(std::shared_ptr<const Model> model, double fps);

private:
  void expect(size_t count) override;
  uint8_t *next() override;
  void added() override;
  void finish() override;
  void compute(size_t snippets, size_t stop, bool ends);

  size_t dropped_ = 0;          // frames whose bytes are no longer needed
  std::vector<uint8_t> window_; // the others
  size_t snippet_ = 0;          // the first whose features are still to compute
  Features infrared_, flow_;
};

// A camera that need not end: detections come as soon as they are certain, in bounded memory.
class LiveStream : public Stream {
public:
  // window_s: seconds of features that the head sees; every: snippets between two of its runs. Throws Error for values
  // out of range.
  LiveStream(std::shared_ptr<const Model> model, double fps, double window_s, int32_t every);

private:
  uint8_t *next() override { return steps_.next(); }
  void added() override;
  void finish() override;

  FeatureSteps steps_;
  Window window_;
};

} // namespace infdet::detail
