#include "model.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace infdet::detail {
namespace {

constexpr size_t kFlowBlock = 64; // frames whose flow is computed at once

// What the pipeline feeds each stage, and what it reads.
const std::map<std::string, std::pair<std::vector<std::string>, std::string>> kTensors = {
    {"fen", {{"frames"}, "flow"}},
    {"infrared_tower", {{"frames"}, "features"}},
    {"flow_tower", {{"flow"}, "features"}},
    {"head", {{"infrared_features", "flow_features", "length"}, "scores"}},
};

std::string shape_text(const std::vector<size_t> &shape) {
  std::string text = "[";
  for (size_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

void append(Features &features, const Output &output, size_t first, size_t last) {
  if (output.shape.size() != 2 || output.shape[0] < last || (features.rows && features.width != output.shape[1]))
    throw Error(INFDET_ERROR_BACKEND, "a tower gave features " + shape_text(output.shape) + ", expected at least " +
                                          std::to_string(last) + " rows; export the bundle again");
  features.width = output.shape[1];
  features.rows += last - first;
  auto row = [&](size_t index) { return output.values.begin() + static_cast<std::ptrdiff_t>(index * features.width); };
  features.values.insert(features.values.end(), row(first), row(last));
}

} // namespace

Model::Model(const std::string &path, const Options &options)
    : bundle((check_backend(options.backend), load_bundle(path))), chunk_snippets(options.chunk_snippets),
      label_(options.backend + " " + options.precision) {
  for (const std::string &stage : bundle.stages) open(stage, options);
}

void Model::open(const std::string &stage, const Options &options) {
  const StageEntry &entry = bundle.entries.at(stage);
  const auto &[fed, read] = kTensors.at(stage);
  auto known = [&](const std::string &name) { return std::find(fed.begin(), fed.end(), name) != fed.end(); };
  if (!std::all_of(entry.inputs.begin(), entry.inputs.end(), known) ||
      std::find(entry.outputs.begin(), entry.outputs.end(), read) == entry.outputs.end())
    throw Error(INFDET_ERROR_BUNDLE, bundle.path + ": " + stage + " has other tensors than a network of ours; export again");
  StageRequest request{bundle.stage_file(stage, options.precision, options.backend),
                       stage,
                       options.precision,
                       entry.inputs,
                       read,
                       options.threads};
  stages_[stage] = open_stage(options.backend, request);
}

Output Model::run(const std::string &stage, const std::vector<Feed> &feeds) const {
  try {
    Output output = stages_.at(stage)->run(feeds);
    return output;
  } catch (const Error &) {
    throw;
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &error) {
    throw Error(INFDET_ERROR_BACKEND, label_ + " failed in " + stage + ": " + first_line(error.what()));
  }
}

void Model::features(const FrameRange &range, size_t first, size_t last, Features &infrared, Features &flow) const {
  const size_t side = static_cast<size_t>(bundle.size);
  if (stages_.count("infrared_tower"))
    append(infrared, run("infrared_tower", {{"frames", Type::uint8, {range.count, side, side}, range.frames}}), first,
           last);
  if (stages_.count("flow_tower")) {
    Output vectors = flow_of(range);
    append(flow, run("flow_tower", {{"flow", Type::float32, vectors.shape, vectors.values.data()}}), first, last);
  }
}

Output Model::flow_of(const FrameRange &range) const {
  const size_t side = static_cast<size_t>(bundle.size);
  Output flow;
  for (size_t first = 0; first < range.count; first += kFlowBlock) {
    size_t count = std::min(kFlowBlock, range.count - first);
    Output block = run("fen", {{"frames", Type::uint8, {count + 1, side, side}, range.frames + first * side * side}});
    if (block.shape.empty() || block.shape[0] != count)
      throw Error(INFDET_ERROR_BACKEND, "fen gave flow " + shape_text(block.shape) + " for " + std::to_string(count) +
                                            " frames; export the bundle again");
    if (flow.shape.empty()) {
      flow.shape = block.shape;
      flow.values.reserve(range.count * (block.values.size() / count));
    }
    flow.values.insert(flow.values.end(), block.values.begin(), block.values.end());
  }
  flow.shape[0] = range.count;
  if (range.ends) {
    size_t frame = flow.values.size() / range.count;
    std::fill(flow.values.end() - static_cast<std::ptrdiff_t>(frame), flow.values.end(), 0.0F);
  }
  return flow;
}

std::vector<float> Model::scores(const Features &infrared, const Features &flow, size_t frames) const {
  int64_t length = static_cast<int64_t>(frames / kFramesPerSnippet);
  std::vector<Feed> feeds;
  for (const std::string &name : bundle.entries.at("head").inputs) {
    const Features &features = name == "flow_features" ? flow : infrared;
    if (name == "length")
      feeds.push_back({"length", Type::int64, {1}, &length});
    else
      feeds.push_back({name == "flow_features" ? "flow_features" : "infrared_features",
                       Type::float32,
                       {features.rows, features.width},
                       features.values.data()});
  }
  Output scores = run("head", feeds);
  if (scores.shape.size() != 2 || !scores.shape[0] || scores.shape[1] != bundle.classes.size())
    throw Error(INFDET_ERROR_BACKEND, "head gave scores " + shape_text(scores.shape) + ", expected [snippets, " +
                                          std::to_string(bundle.classes.size()) + " classes]; export the bundle again");
  if (!std::all_of(scores.values.begin(), scores.values.end(), [](float score) { return std::isfinite(score); }))
    throw Error(INFDET_ERROR_BACKEND, label_ + " gave scores that are not numbers; try float32");
  return std::move(scores.values);
}

} // namespace infdet::detail
