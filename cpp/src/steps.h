// Features of a clip that is still arriving: those of the whole clip, no frame computed twice. See Python's
// runtime/incremental.py; what the towers' steps are is told in exporting/incremental.py.
#pragma once

#include <optional>
#include <vector>

#include "model.h"

namespace infdet::detail {

// One tower along one stream: what it is fed, and the state between its steps.
class TowerSteps {
public:
  TowerSteps(const Model &model, std::string stage);

  // data: the next kStepFrames frames (of the flow tower: flow, one frame behind), in the shape of the stage's input.
  // length: frames of the clip, once it is known; frames from there on are of no meaning. Appends its new features.
  void step(Type type, const Shape &shape, const void *data, std::optional<size_t> length, Features &features);

  // Whether frames must still be fed until a clip of this length has all of its features.
  bool ends_before(size_t length) const;

private:
  const Model &model_;
  const std::string stage_;
  const StageEntry &entry_;
  const StreamEntry &stream_;
  std::vector<Shape> shapes_; // of the states
  std::vector<std::vector<float>> states_;
  size_t came_ = 0;
};

// All towers along one stream. Used by one thread at a time.
class FeatureSteps {
public:
  explicit FeatureSteps(const Model &model);

  // Where the next frame is to be written, uint8 [size, size]; then `added` is called.
  uint8_t *next() { return frames_.data() + (1 + waiting_) * frame_bytes_; }

  // A frame was written. Whether it completed a step, whose features were appended.
  bool added(Features &infrared, Features &flow);

  // The clip has `length` frames, a multiple of 4; append the rest of its features.
  void finish(size_t length, Features &infrared, Features &flow);

private:
  void step(std::optional<size_t> length, Features &infrared, Features &flow);

  const Model &model_;
  const size_t frame_bytes_;
  std::optional<TowerSteps> infrared_tower_, flow_tower_;
  std::vector<uint8_t> frames_; // the last frame of the step before, then those of this one: flow leads from each to the next
  size_t waiting_ = 0;          // frames of the next step that have come
};

} // namespace infdet::detail
