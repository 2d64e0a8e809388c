#include "steps.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "error.h"

namespace infdet::detail {
namespace {

Shape numbers(const std::vector<std::string> &sizes) {
  Shape shape;
  for (const std::string &size : sizes) shape.push_back(std::stoul(size)); // checked when the bundle was loaded
  return shape;
}

} // namespace

TowerSteps::TowerSteps(const Model &model, std::string stage)
    : model_(model), stage_(std::move(stage)), entry_(model.bundle.entries.at(stage_)), stream_(*model.bundle.stream) {
  for (size_t i = 2; i < entry_.inputs.size(); ++i) {
    shapes_.push_back(numbers(entry_.inputs[i].sizes));
    size_t count = 1;
    for (size_t size : shapes_.back()) count *= size;
    states_.emplace_back(count, 0.0F);
  }
}

void TowerSteps::step(Type type, const Shape &shape, const void *data, std::optional<size_t> length,
                      Features &features) {
  const size_t history = stream_.history_frames, end = length.value_or(received_ + kStepFrames);
  std::vector<float> inside(history + kStepFrames);
  for (size_t i = 0; i < inside.size(); ++i) inside[i] = received_ + i >= history && received_ + i < history + end ? 1.0F : 0.0F;
  std::vector<Feed> feeds{{entry_.inputs[0].name.c_str(), type, shape, data},
                          {entry_.inputs[1].name.c_str(), Type::float32, {inside.size()}, inside.data()}};
  for (size_t i = 0; i < states_.size(); ++i)
    feeds.push_back({entry_.inputs[2 + i].name.c_str(), Type::float32, shapes_[i], states_[i].data()});
  std::vector<Output> found = model_.run(stage_, feeds);
  for (size_t i = 0; i < states_.size(); ++i) {
    if (found[1 + i].values.size() != states_[i].size())
      throw Error(INFDET_ERROR_BACKEND, stage_ + " returned a state of another size; export the bundle again");
    states_[i] = std::move(found[1 + i].values);
  }
  // rows of this step are features received/8 - lag ...; skip those before the first and after the clip's end
  const size_t lag = stream_.features_lag, begin = received_ / kFramesPerSnippet, rows = found[0].shape.at(0);
  const size_t first = lag > begin ? lag - begin : 0;
  size_t last = rows;
  if (length) {
    const size_t total = feature_length(*length) + lag;
    last = std::min(rows, total > begin ? total - begin : 0);
  }
  received_ += kStepFrames;
  if (first < last) append(features, found[0], first, last);
}

bool TowerSteps::ends_before(size_t length) const {
  return (feature_length(length) + stream_.features_lag) * kFramesPerSnippet > received_;
}

FeatureSteps::FeatureSteps(const Model &model)
    : model_(model), frame_bytes_(static_cast<size_t>(model.bundle.size) * static_cast<size_t>(model.bundle.size)),
      frames_((1 + kStepFrames) * frame_bytes_) {
  for (const std::string &stage : model.bundle.stages) {
    if (stage == "infrared_tower") infrared_tower_.emplace(model, stage + "_stream");
    if (stage == "flow_tower") flow_tower_.emplace(model, stage + "_stream");
  }
}

bool FeatureSteps::added(Features &infrared, Features &flow) {
  if (++waiting_ < kStepFrames) return false;
  step(std::nullopt, infrared, flow);
  return true;
}

void FeatureSteps::finish(size_t length, Features &infrared, Features &flow) {
  while ((infrared_tower_ && infrared_tower_->ends_before(length)) || (flow_tower_ && flow_tower_->ends_before(length)))
    step(length, infrared, flow);
}

void FeatureSteps::step(std::optional<size_t> length, Features &infrared, Features &flow) {
  const size_t side = static_cast<size_t>(model_.bundle.size);
  if (infrared_tower_)
    infrared_tower_->step(Type::uint8, {kStepFrames, side, side}, frames_.data() + frame_bytes_, length, infrared);
  if (flow_tower_) {
    const Output vectors =
        std::move(model_.run("fen", {{"frames", Type::uint8, {1 + kStepFrames, side, side}, frames_.data()}})[0]);
    flow_tower_->step(Type::float32, vectors.shape, vectors.values.data(), length, flow);
  }
  std::copy_n(frames_.end() - static_cast<std::ptrdiff_t>(frame_bytes_), frame_bytes_, frames_.begin());
  waiting_ = 0;
}

} // namespace infdet::detail
