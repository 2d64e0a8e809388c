// A bundle with compiled stages: frames to features, features to scores.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "bundle.h"

namespace infdet::detail {

constexpr size_t kMinFrames = 16;       // the shortest clip: one feature
constexpr size_t kStepFrames = 32;      // frames computed at once in a live stream

struct Options {
  std::string backend = "openvino", precision = "float32";
  size_t chunk_snippets = 32;
  int threads = 0;
  bool live = false; // open the incremental towers, for live streams
  std::vector<double> thresholds = {}; // instead of the bundle's; empty: the bundle's
};

// Number of features of a tower for `frames` frames, 1 or more.
inline size_t feature_length(size_t frames) { return (frames + kFramesPerSnippet - 1) / kFramesPerSnippet - 1; }

// Features of one tower, float [rows, width].
struct Features {
  size_t rows = 0, width = 0;
  std::vector<float> values;
};

// Append rows first ... last-1 of a tower's output. Throws Error if the output does not have these rows.
void append(Features &features, const Output &output, size_t first, size_t last);

// Consecutive input frames, uint8 [count, size, size], followed by one more frame. If `ends`, that frame repeats the
// clip's last frame, whose flow is zero.
struct FrameRange {
  const uint8_t *frames;
  size_t count;
  bool ends;
};

// Many threads may use one model at once.
class Model {
public:
  // Throws Error if the bundle or the backend cannot be used.
  Model(const std::string &path, const Options &options);

  const Bundle bundle;
  const size_t chunk_snippets;
  const bool live;

  // Append features `first` ... `last`-1 of these frames, for each tower of the network. Not for a live model.
  void features(const FrameRange &frames, size_t first, size_t last, Features &infrared, Features &flow) const;

  // Features of `length` snippets of a clip -> scores float [snippets, classes].
  std::vector<float> scores(const Features &infrared, const Features &flow, size_t length) const;

  // Run a stage. Throws Error with the name of the stage.
  std::vector<Output> run(const std::string &stage, const std::vector<Feed> &feeds) const;

private:
  Output flow_of(const FrameRange &frames) const;
  void flow_features(const FrameRange &frames, size_t first, size_t last, Features &flow) const;
  template <class Call> auto named(const std::string &stage, Call &&call) const;
  void open(const std::string &stage, const Options &options);
  std::string label_; // backend and precision, for messages
  std::map<std::string, std::unique_ptr<Stage>> stages_;
};

} // namespace infdet::detail
