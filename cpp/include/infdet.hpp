// C++ interface over infdet.h: objects close themselves, and a failed call throws infdet::Error.
//
//   infdet::Model model("small-1.infdet");
//   for (const infdet::Detection &found : model.detect(frames.data(), 500, 480, 640, 25.0))
//     std::cout << found.label << ' ' << found.start_s << '\n';
#pragma once

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 201703L
#error "infdet.hpp needs C++17 (-std=c++17); infdet.h is plain C and works with any version of C++"
#endif

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "infdet.h"

namespace infdet {

// A failed call. what() is the message of infdet_last_error().
class Error : public std::runtime_error {
public:
  Error(infdet_status status, const std::string &text) : std::runtime_error(text), status_(status) {}
  infdet_status status() const { return status_; }

private:
  infdet_status status_;
};

inline void check(infdet_status status) {
  if (status != INFDET_OK) throw Error(status, infdet_last_error());
}

// One action: times in seconds since the first frame, score 0 to 1.
struct Detection {
  std::string label;
  double start_s, end_s, score;
};

// A bundle ready to run. Many threads may use one model at once.
class Model {
public:
  explicit Model(const std::string &bundle, const infdet_options &options = infdet_default_options()) {
    check(infdet_open(bundle.c_str(), &options, &handle_));
  }
  Model(Model &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Model &operator=(Model &&other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Model() { infdet_close(handle_); }

  infdet_info info() const {
    infdet_info info{};
    info.struct_size = sizeof info;
    check(infdet_describe(handle_, &info));
    return info;
  }

  double threshold(int32_t class_index) const {
    double value = 0;
    check(infdet_threshold(handle_, class_index, &value));
    return value;
  }

  std::string class_name(int32_t index) const {
    const char *name = infdet_class_name(handle_, index);
    if (!name) throw Error(INFDET_ERROR_ARGUMENT, infdet_last_error());
    return name;
  }

  // Detections of a whole clip, sorted by class, then time.
  // frames: uint8 [count, height, width]. fps: frames per second.
  std::vector<Detection> detect(const uint8_t *frames, size_t count, size_t height, size_t width, double fps) const {
    infdet_detection *found = nullptr;
    size_t found_count = 0;
    check(infdet_detect(handle_, frames, count, height, width, fps, &found, &found_count));
    struct Owner {
      infdet_detection *array;
      ~Owner() { infdet_free_detections(array); }
    } owner{found};
    std::vector<Detection> result;
    for (size_t i = 0; i < found_count; ++i) result.push_back(named(found[i]));
    return result;
  }

  const infdet_model *handle() const { return handle_; }

private:
  Detection named(const infdet_detection &found) const {
    return {class_name(found.class_index), found.start_s, found.end_s, found.score};
  }
  infdet_model *handle_ = nullptr;
};

// Incremental input. A stream keeps its network: the Model object may be moved or destroyed while the stream is used.
class Stream {
public:
  // For a recording: poll() returns detections after flush().
  Stream(const Model &model, double fps) : Stream(model) { check(infdet_open_stream(model.handle(), fps, &handle_)); }

  // For a camera: poll() returns a detection as soon as it is final. Open the model with options.live = 1.
  static Stream live(const Model &model, double fps, double window_s = INFDET_WINDOW_S,
                     int32_t every_snippets = INFDET_EVERY_SNIPPETS) {
    Stream stream(model);
    check(infdet_open_live(model.handle(), fps, window_s, every_snippets, &stream.handle_));
    return stream;
  }

  Stream(Stream &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)), classes_(other.classes_) {}
  Stream &operator=(Stream &&other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(classes_, other.classes_);
    return *this;
  }
  ~Stream() { infdet_close_stream(handle_); }

  // frames: uint8 [count, height, width]; the same size in the whole stream.
  void push(const uint8_t *frames, size_t count, size_t height, size_t width) {
    check(infdet_push(handle_, frames, count, height, width));
  }

  // As push, with the time of each frame in seconds, not decreasing: see infdet_push_timed.
  void push_timed(const uint8_t *frames, size_t count, size_t height, size_t width, const double *times_s) {
    check(infdet_push_timed(handle_, frames, count, height, width, times_s));
  }

  // Counts of a thermal camera, uint16 in hundredths of a kelvin; times_s may be null: see infdet_push16.
  void push16(const uint16_t *frames, size_t count, size_t height, size_t width, const double *times_s = nullptr) {
    check(infdet_push16(handle_, frames, count, height, width, times_s));
  }

  // One frame of a camera's driver, with row stride, depth and time: see infdet_push_frame.
  void push(const infdet_frame &frame) { check(infdet_push_frame(handle_, &frame)); }

  // Called after every computed chunk; see infdet_set_progress.
  void set_progress(infdet_progress progress, void *context) { check(infdet_set_progress(handle_, progress, context)); }

  void flush() { check(infdet_flush(handle_)); }

  // Scores of a flushed recording, float [snippets, classes]; empty before the flush and for live streams.
  std::vector<float> scores() const {
    const float *values = nullptr;
    size_t snippets = 0;
    infdet_status status = infdet_scores(handle_, &values, &snippets);
    if (status == INFDET_NOTHING) return {};
    check(status);
    return std::vector<float>(values, values + snippets * classes_);
  }

  // The next detection, if there is one.
  std::optional<Detection> poll() {
    infdet_detection found;
    infdet_status status = infdet_poll(handle_, &found);
    if (status == INFDET_NOTHING) return std::nullopt;
    check(status);
    const char *name = infdet_stream_class_name(handle_, found.class_index);
    return Detection{name ? name : "", found.start_s, found.end_s, found.score};
  }

private:
  explicit Stream(const Model &model) : classes_(static_cast<size_t>(model.info().class_count)) {}
  infdet_stream *handle_ = nullptr;
  size_t classes_;
};

} // namespace infdet
