#include "model.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace infdet::detail {
namespace {

constexpr size_t kFlowBlock = 64; // frames in one call of the FEN

// Inputs and output of each stage.
const std::map<std::string, std::pair<std::vector<std::string>, std::string>> kTensors = {
    {"fen", {{"frames"}, "flow"}},
    {"infrared_tower", {{"frames"}, "features"}},
    {"flow_tower", {{"flow"}, "features"}},
    {"head", {{"infrared_features", "flow_features", "length"}, "scores"}},
};

std::string shape_text(const Shape &shape) {
  std::string text = "[";
  for (size_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

bool is_tower(const std::string &stage) { return stage == "infrared_tower" || stage == "flow_tower"; }

std::vector<std::string> names(const std::vector<Tensor> &tensors) {
  std::vector<std::string> found;
  for (const Tensor &tensor : tensors) found.push_back(tensor.name);
  return found;
}

bool has(const std::vector<std::string> &names, const std::string &name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void check_live(const Bundle &bundle) {
  if (bundle.recognition)
    throw Error(INFDET_ERROR_ARGUMENT, bundle.path + " recognises whole clips; it has no live events");
  if (!bundle.stream)
    throw Error(INFDET_ERROR_BUNDLE, bundle.path + " has no incremental towers; export it again with "
                                                   "infdet-deploy export RUN");
  if (kStepFrames % bundle.stream->step_frames)
    throw Error(INFDET_ERROR_BUNDLE, bundle.path + " needs steps in multiples of " +
                                         std::to_string(bundle.stream->step_frames) +
                                         " frames, this version makes steps of " + std::to_string(kStepFrames));
}

// Input shapes of a stage for steps of kStepFrames.
std::map<std::string, Shape> step_shapes(const Bundle &bundle, const StageEntry &entry) {
  const size_t history = bundle.stream->history_frames;
  const std::map<std::string, size_t> known = {{"T+1", kStepFrames + 1},
                                               {"8n", kStepFrames},
                                               {"8n+" + std::to_string(history), kStepFrames + history}};
  std::map<std::string, Shape> shapes;
  for (const Tensor &tensor : entry.inputs)
    for (const std::string &size : tensor.sizes) {
      bool number = !size.empty() && size.size() < 10 && size.find_first_not_of("0123456789") == std::string::npos;
      if (!number && !known.count(size)) throw damaged(bundle.path, tensor.name + " has a size of '" + size + "'");
      shapes[tensor.name].push_back(number ? std::stoul(size) : known.at(size));
    }
  return shapes;
}

Bundle with_thresholds(Bundle bundle, const std::vector<double> &thresholds) {
  if (thresholds.empty()) return bundle;
  if (thresholds.size() != bundle.classes.size())
    throw Error(INFDET_ERROR_ARGUMENT, std::to_string(thresholds.size()) + " thresholds for " +
                                           std::to_string(bundle.classes.size()) + " classes; expected one for each");
  for (const double threshold : thresholds)
    if (!(threshold >= 0 && threshold <= 1))
      throw Error(INFDET_ERROR_ARGUMENT, "a threshold is " + std::to_string(threshold) + ", expected 0 to 1");
  bundle.rule.thresholds = thresholds;
  return bundle;
}

} // namespace

void append(Features &features, const Output &output, size_t first, size_t last) {
  if (output.shape.size() != 2 || output.shape[0] < last || (features.rows && features.width != output.shape[1]))
    throw Error(INFDET_ERROR_BACKEND, "a tower gave features " + shape_text(output.shape) + ", expected at least " +
                                          std::to_string(last) + " rows; export the bundle again");
  features.width = output.shape[1];
  features.rows += last - first;
  auto row = [&](size_t index) { return output.values.begin() + static_cast<std::ptrdiff_t>(index * features.width); };
  features.values.insert(features.values.end(), row(first), row(last));
}

Model::Model(const std::string &path, const Options &options)
    : bundle((check_backend(options.backend), with_thresholds(load_bundle(path), options.thresholds))), chunk_snippets(options.chunk_snippets),
      live(options.live), label_(options.backend + " " + options.precision) {
  if (live) check_live(bundle);
  for (const std::string &stage : bundle.stages) open(stage, options);
}

void Model::open(const std::string &stage, const Options &options) {
  const bool step = live && is_tower(stage);
  const std::string file = step ? stage + "_stream" : stage;
  const StageEntry &entry = bundle.entries.at(file);
  const auto &[fed, read] = kTensors.at(stage);
  StageRequest request{bundle.stage_file(file, options.precision, options.backend),
                       file,
                       options.precision,
                       names(entry.inputs),
                       {read},
                       {},
                       options.threads};
  bool known = has(names(entry.outputs), read) && (!step || entry.inputs.size() >= 2);
  for (size_t i = 0; i < entry.inputs.size(); ++i) {
    const std::string &name = entry.inputs[i].name;
    if (!step || i == 0) known = known && has(fed, name);
    if (step && i >= 2) { // state passed from step to step
      request.outputs.push_back("next." + name);
      known = known && has(names(entry.outputs), request.outputs.back());
    }
  }
  if (!known)
    throw Error(INFDET_ERROR_BUNDLE, bundle.path + ": " + file + " has unexpected tensors; export again");
  if (live && stage != "head") request.shapes = step_shapes(bundle, entry);
  const std::string fixed = bundle.fixed_shapes_file(file, options.precision, options.backend);
  if (!fixed.empty()) (request.shapes.empty() ? request.fixed_file : request.file) = fixed;
  stages_[file] = open_stage(options.backend, request);
}

// Return `call()`; an exception becomes an Error with the name of the stage.
template <class Call> auto Model::named(const std::string &stage, Call &&call) const {
  try {
    return call();
  } catch (const Error &) {
    throw;
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &error) {
    throw Error(INFDET_ERROR_BACKEND, label_ + " failed in " + stage + ": " + first_line(error.what()));
  }
}

std::vector<Output> Model::run(const std::string &stage, const std::vector<Feed> &feeds) const {
  return named(stage, [&] { return stages_.at(stage)->run(feeds); });
}

void Model::features(const FrameRange &range, size_t first, size_t last, Features &infrared, Features &flow) const {
  const size_t side = static_cast<size_t>(bundle.size);
  if (stages_.count("infrared_tower"))
    append(infrared, run("infrared_tower", {{"frames", Type::uint8, {range.count, side, side}, range.frames}})[0],
           first, last);
  if (stages_.count("flow_tower")) flow_features(range, first, last, flow);
}

void Model::flow_features(const FrameRange &range, size_t first, size_t last, Features &flow) const {
  const size_t side = static_cast<size_t>(bundle.size);
  // in one call, kept on the device if the backend has one
  const Feed frames{"frames", Type::uint8, {range.count + 1, side, side}, range.frames};
  if (auto vectors = named("fen", [&] { return stages_.at("fen")->run_on_device({frames}); })) {
    if (range.ends) named("fen", [&] { vectors->clear_last(); });
    append(flow, run("flow_tower", {{"flow", Type::float32, vectors->shape, vectors->data(), true}})[0], first, last);
    return;
  }
  const Output vectors = flow_of(range);
  append(flow, run("flow_tower", {{"flow", Type::float32, vectors.shape, vectors.values.data()}})[0], first, last);
}

Output Model::flow_of(const FrameRange &range) const {
  const size_t side = static_cast<size_t>(bundle.size);
  Output flow;
  for (size_t first = 0; first < range.count; first += kFlowBlock) {
    size_t count = std::min(kFlowBlock, range.count - first);
    Output block = run("fen", {{"frames", Type::uint8, {count + 1, side, side}, range.frames + first * side * side}})[0];
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

std::vector<float> Model::scores(const Features &infrared, const Features &flow, size_t snippets) const {
  const int64_t length = static_cast<int64_t>(snippets);
  std::vector<Feed> feeds;
  for (const auto &[name, _] : bundle.entries.at("head").inputs) {
    const Features &features = name == "flow_features" ? flow : infrared;
    if (name == "length")
      feeds.push_back({"length", Type::int64, {1}, &length});
    else
      feeds.push_back({name == "flow_features" ? "flow_features" : "infrared_features",
                       Type::float32,
                       {features.rows, features.width},
                       features.values.data()});
  }
  Output scores = std::move(run("head", feeds)[0]);
  const auto rows = infrared.rows ? infrared.rows : flow.rows;
  if (scores.shape.size() != 2 || !rows || scores.shape[0] != rows || scores.shape[1] != bundle.classes.size())
    throw Error(INFDET_ERROR_BACKEND, "head gave scores " + shape_text(scores.shape) + ", expected [" +
                                          std::to_string(rows) + ", " +
                                          std::to_string(bundle.classes.size()) + " classes]; export the bundle again");
  if (!std::all_of(scores.values.begin(), scores.values.end(), [](float score) { return std::isfinite(score); }))
    throw Error(INFDET_ERROR_BACKEND, label_ + " gave scores that are not numbers; try float32");
  const auto [least, most] = std::minmax_element(scores.values.begin(), scores.values.end());
  if (*least < 0 || *most > 1)
    throw Error(INFDET_ERROR_BACKEND, label_ + " gave a score of " + std::to_string(*most > 1 ? *most : *least) +
                                          ", expected 0 to 1; export the bundle again");
  return std::move(scores.values);
}

} // namespace infdet::detail
