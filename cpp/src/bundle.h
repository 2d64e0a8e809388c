// A bundle on disk, checked before anything in it is used. Nothing in it is executed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "detections.h"

namespace infdet::detail {

enum class FrameMode { resize, crop };

// A stage's input or output. Sizes that vary have names, such as 8n, instead of numbers.
struct Tensor {
  std::string name;
  std::vector<std::string> sizes;
};

// One stage's tensors and files.
struct StageEntry {
  std::vector<Tensor> inputs, outputs;
  std::map<std::string, std::map<std::string, std::string>> files; // format -> precision -> name
};

// The towers as steps over a clip that is still arriving, in frames and features; see Python's runtime/incremental.py.
struct StreamEntry {
  size_t step_frames, delay_frames, features_lag, history_frames;
};

struct Bundle {
  std::string path, name;
  std::vector<std::string> classes;
  std::vector<std::string> stages; // the network's, in the order in which data passes them
  std::map<std::string, StageEntry> entries; // of towers as steps too, called infrared_tower_stream, flow_tower_stream
  std::optional<StreamEntry> stream;         // where the bundle holds them
  int size = 0; // height and width of the frames in pixels
  FrameMode mode = FrameMode::resize;
  bool recognition = false; // a network for trimmed clips
  DetectionRule rule;

  // The ONNX file that a backend runs: one made for it before the general one. Throws Error where there is none.
  std::string stage_file(const std::string &stage, const std::string &precision, const std::string &backend) const;
};

// Check a bundle folder whole and give it back. Throws Error naming the file when one is missing, changed, not listed,
// a link or outside the folder, when an ONNX file keeps data in another file, when the manifest is not readable, or
// when a newer version wrote it.
Bundle load_bundle(const std::string &path);

// What a manifest's text says, without the files; `path` is for messages. Throws Error.
Bundle read_bundle_text(const std::string &path, const std::string &text);

} // namespace infdet::detail
