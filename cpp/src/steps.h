// Incremental features, equal to those of the whole clip, without computing a frame twice. See Python's
// runtime/incremental.py, and exporting/incremental.py for the steps of the towers.
#pragma once

#include <optional>
#include <vector>

#include "model.h"

namespace infdet::detail {

// One tower on one stream, with its state between steps.
class TowerSteps {
public:
  TowerSteps(const Model &model, std::string stage);

  // Run a step and append its features.
  // data: the next kStepFrames frames (flow tower: flow, one frame behind), in the shape of the stage's input.
  // length: frames of the clip, once known; later frames in `data` are ignored.
  void step(Type type, const Shape &shape, const void *data, std::optional<size_t> length, Features &features);

  // Whether a clip of this length needs another step to have all its features.
  bool ends_before(size_t length) const;

private:
  const Model &model_;
  const std::string stage_;
  const StageEntry &entry_;
  const StreamEntry &stream_;
  std::vector<Shape> shapes_; // of states_
  std::vector<std::vector<float>> states_;
  size_t received_ = 0;
};

// All towers on one stream. Used by one thread at a time.
class FeatureSteps {
public:
  explicit FeatureSteps(const Model &model);

  // Where to write the next frame, uint8 [size, size]. Then call `added`.
  uint8_t *next() { return frames_.data() + (1 + waiting_) * frame_bytes_; }

  // Count the written frame. True if it completed a step, whose features were appended.
  bool added(Features &infrared, Features &flow);

  // The clip has `length` frames, a multiple of 4. Append its remaining features.
  void finish(size_t length, Features &infrared, Features &flow);

private:
  void step(std::optional<size_t> length, Features &infrared, Features &flow);

  const Model &model_;
  const size_t frame_bytes_;
  std::optional<TowerSteps> infrared_tower_, flow_tower_;
  std::vector<uint8_t> frames_; // the last frame of the previous step, then this step's: flow goes from each to the next
  size_t waiting_ = 0;          // frames of the next step that have arrived
};

} // namespace infdet::detail
