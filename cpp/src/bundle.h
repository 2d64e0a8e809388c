// A bundle on disk, checked before use. Nothing in it is executed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "detections.h"

namespace infdet::detail {

enum class FrameMode { resize, crop };

// What a grey level means. range: a share of the recording's range. background: the difference from each pixel's
// background.
enum class Levels { range, background };

// A stage's input or output. Varying sizes have names such as 8n.
struct Tensor {
  std::string name;
  std::vector<std::string> sizes;
};

// One stage's tensors and files.
struct StageEntry {
  std::vector<Tensor> inputs, outputs;
  std::map<std::string, std::map<std::string, std::string>> files; // format -> precision -> name
};

// Step length and delays of the incremental towers, in frames and features. See Python's runtime/incremental.py.
struct StreamEntry {
  size_t step_frames, delay_frames, features_lag, history_frames;
};

struct Bundle {
  std::string path, name;
  std::vector<std::string> classes;
  std::vector<std::string> stages;           // of the network, in order
  std::map<std::string, StageEntry> entries; // with incremental towers: infrared_tower_stream, flow_tower_stream
  std::optional<StreamEntry> stream;         // if the bundle has incremental towers
  int size = 0; // height and width of the frames in pixels
  FrameMode mode = FrameMode::resize;
  Levels levels = Levels::range;
  std::optional<double> fps;        // of the training clips
  std::optional<double> frame_rate; // interpolate frames to this many per second
  bool recognition = false; // the network recognises trimmed clips
  DetectionRule rule;

  // The ONNX file for a backend: a file made for this backend, else the general one. Throws Error if there is none.
  std::string stage_file(const std::string &stage, const std::string &precision, const std::string &backend) const;
  // The ONNX file that a backend runs where the shapes of all inputs are fixed; empty for no other than `stage_file`.
  std::string fixed_shapes_file(const std::string &stage, const std::string &precision,
                                const std::string &backend) const;
};

// Load a bundle and check every file. Throws Error if a file is missing, changed, unlisted, a link or outside the folder,
// if an ONNX file has external data, or if the manifest is unreadable or from a newer version.
Bundle load_bundle(const std::string &path);

// Parse the text of a manifest without checking files; `path` is for messages. Throws Error.
Bundle read_bundle_text(const std::string &path, const std::string &text);

} // namespace infdet::detail
