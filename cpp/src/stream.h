// Frames in, detections out: after the end of a clip, or continuously for a camera.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "model.h"
#include "preparation.h"
#include "steps.h"
#include "window.h"

namespace infdet::detail {

// Used by one thread at a time.
class Stream {
public:
  virtual ~Stream() = default;

  // frames: [count, height, width]. Pixel: uint8_t, or uint16_t in hundredths of a kelvin for bundles with background
  // levels. times_s: of the frames, in seconds, not decreasing; null: frames lie 1/fps apart. Throws Error for another
  // size, type or clock than before, after a flush, and if computing fails; then the stream accepts no more frames.
  template <class Pixel>
  void push(const Pixel *frames, size_t count, size_t height, size_t width, const double *times_s);

  // End the stream and compute the rest.
  void flush();

  // The next detection, if there is one.
  std::optional<infdet_detection> poll();

  const Model &model() const { return *model_; }

  // The scores of a clip after its flush, float [snippets, classes]; null for live streams.
  virtual const std::vector<float> *scores() const { return nullptr; }

  // Called with the number of computed snippets; true stops the call that computes.
  void set_progress(std::function<bool(size_t)> progress) { progress_ = std::move(progress); }

protected:
  // fps: frames per second of the caller. causal: frames are prepared from past ones only. Throws Error if fps is out of
  // range.
  Stream(std::shared_ptr<const Model> model, double fps, bool causal);

  virtual void expect(size_t) {}    // frames that the caller is about to push
  virtual uint8_t *next() = 0;      // where to write the next prepared frame
  virtual void added() = 0;         // the frame was written and counted in received_
  virtual void finish() = 0;
  void found(const std::vector<infdet_detection> &detections);
  void computed(size_t snippets) const; // throws Error if the caller wants to stop

  const std::shared_ptr<const Model> model_;
  const double fps_; // of the prepared frames
  const size_t frame_bytes_;
  size_t received_ = 0; // prepared frames

private:
  enum class State { open, flushed, failed };
  void check_open() const;
  void check_times(const double *times_s, size_t count) const;
  void check_gap(double gap_s) const;
  template <class Pixel> Preparation<Pixel> &preparation(size_t height, size_t width);
  void prepared(const uint8_t *frame);

  const double pushed_fps_;
  const bool causal_;
  State state_ = State::open;
  size_t height_ = 0, width_ = 0;
  size_t pushed_ = 0;
  bool timed_ = false;                // the caller gives times
  double last_s_ = 0, origin_s_ = 0;  // the caller's time of the last pushed frame; what to subtract from times
  std::variant<std::monostate, Preparation<uint8_t>, Preparation<uint16_t>> preparation_; // after the first push
  std::deque<infdet_detection> found_;
  std::function<bool(size_t)> progress_;
};

// A clip: all detections are ready after the flush, sorted by class, then time. The features of a chunk are computed as
// soon as the chunk and its halo have arrived, then its frames are dropped. Chunks, and so results, are the same as in
// Python.
class ClipStream : public Stream {
public:
  ClipStream(std::shared_ptr<const Model> model, double fps);
  const std::vector<float> *scores() const override { return scores_.empty() ? nullptr : &scores_; }

private:
  void expect(size_t count) override;
  uint8_t *next() override;
  void added() override;
  void finish() override;
  void compute(size_t snippets, size_t stop, bool ends);

  size_t dropped_ = 0;          // frames that are no longer in memory
  std::vector<uint8_t> window_; // the frames after them
  size_t snippet_ = 0;          // the first snippet without features
  Features infrared_, flow_;
  std::vector<float> scores_; // after the flush
};

// A camera: detections are ready as soon as they are final; memory is bounded.
class LiveStream : public Stream {
public:
  // window_s: seconds of features that the head sees. every: snippets between two runs of the head. Throws Error for
  // values out of range.
  LiveStream(std::shared_ptr<const Model> model, double fps, double window_s, int32_t every);

private:
  uint8_t *next() override { return steps_.next(); }
  void added() override;
  void finish() override;

  FeatureSteps steps_;
  Window window_;
};

} // namespace infdet::detail
