// A bundle with its stages compiled: features of a chunk of frames or of a step, scores of features.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "bundle.h"

namespace infdet::detail {

constexpr size_t kFramesPerSnippet = 8; // the towers' temporal stride
constexpr size_t kMinFrames = 16;       // the shortest clip that gives one feature
constexpr size_t kStepFrames = 32;      // of a live stream, computed at once

struct Options {
  std::string backend = "openvino", precision = "float32";
  size_t chunk_snippets = 32;
  int threads = 0;
  bool live = false; // towers as steps, for live streams, in place of whole ones
};

// The number of features that a tower gives for `frames` frames, 1 or more.
inline size_t feature_length(size_t frames) { return (frames + kFramesPerSnippet - 1) / kFramesPerSnippet - 1; }

// Features of one stream, float [rows, width].
struct Features {
  size_t rows = 0, width = 0;
  std::vector<float> values;
};

// Add rows first ... last-1 of a tower's output. Throws Error where it has other rows.
void append(Features &features, const Output &output, size_t first, size_t last);

// Consecutive frames as the network takes them, uint8 [count, size, size], and one more behind them. Where it is the
// clip's last frame again (`ends`), the flow of the last frame is zero.
struct FrameRange {
  const uint8_t *frames;
  size_t count;
  bool ends;
};

// Many threads may use one at once.
class Model {
public:
  // Throws Error when the bundle or the backend will not do.
  Model(const std::string &path, const Options &options);

  const Bundle bundle;
  const size_t chunk_snippets;
  const bool live;

  // Append features `first` ... `last`-1 of these frames to those of each stream that the network has. Not for a live
  // model.
  void features(const FrameRange &frames, size_t first, size_t last, Features &infrared, Features &flow) const;

  // Features of `length` snippets of a clip -> scores float [snippets, classes].
  std::vector<float> scores(const Features &infrared, const Features &flow, size_t length) const;

  // All outputs of one of its stages. Throws Error naming the stage.
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
