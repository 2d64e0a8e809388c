#include "bundle.h"

#include <cmath>
#include <limits>
#include <set>
#include <sys/stat.h>

#include "bundle_files.h"
#include "manifest.h"

namespace infdet::detail {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

const std::map<std::string, Strings> kStagesOf = {
    {"both", {"fen", "infrared_tower", "flow_tower", "head"}},
    {"infrared", {"infrared_tower", "head"}},
    {"flow", {"fen", "flow_tower", "head"}},
};

// Formats in the manifest whose files are ONNX: for all backends, or made for one of them.
const std::set<std::string> kOnnxForms = {"onnx", "openvino", "openvino_fixed_shapes", "onnxruntime", "tensorrt"};

// Typed access to the members of an object, with errors that name the member.
class Reader {
public:
  Reader(const std::string &path, const json &object, std::string where) : path_(path), where_(std::move(where)) {
    if (!object.is_object()) wrong("", "an object");
    object_ = &object;
  }

  const json &member(const std::string &key) const {
    auto found = object_->find(key);
    if (found == object_->end()) throw damaged(path_, where_ + ": key '" + key + "' is missing");
    return *found;
  }
  Reader object(const std::string &key) const { return Reader(path_, member(key), where_ + "." + key); }
  std::string text(const std::string &key) const {
    if (!member(key).is_string()) wrong(key, "a text");
    return member(key).get<std::string>();
  }
  std::string text(const std::string &key, const std::string &otherwise) const {
    return object_->contains(key) ? text(key) : otherwise;
  }
  const json &list(const std::string &key) const {
    if (!member(key).is_array()) wrong(key, "a list");
    return member(key);
  }
  std::vector<double> numbers(const std::string &key) const {
    std::vector<double> values;
    for (const json &value : list(key)) {
      if (!value.is_number()) wrong(key, "a list of numbers");
      values.push_back(value.get<double>());
    }
    return values;
  }
  // An object in the list `key`.
  Reader item(const json &value, const std::string &key) const { return Reader(path_, value, where_ + "." + key); }
  const json &all() const { return *object_; }

  [[noreturn]] void wrong(const std::string &key, const std::string &expected) const {
    throw damaged(path_, where_ + (key.empty() ? "" : "." + key) + " is not " + expected);
  }

private:
  const std::string &path_;
  std::string where_;
  const json *object_ = nullptr;
};

DetectionRule rule_of(const std::string &path, const Reader &manifest) {
  Reader entry = manifest.object("rule");
  for (const auto &[key, _] : entry.all().items())
    if (key != "thresholds" && key != "mean_duration_s" && key != "split_long" && key != "ends")
      throw damaged(path, "rule: unknown key '" + key + "'");
  DetectionRule rule{entry.numbers("thresholds"), entry.numbers("mean_duration_s")};
  if (entry.all().contains("split_long")) {
    if (!entry.member("split_long").is_boolean()) entry.wrong("split_long", "true or false");
    rule.split_long = entry.member("split_long").get<bool>();
  }
  const std::string ends = entry.text("ends", "published");
  if (ends != "published" && ends != "interpolated") entry.wrong("ends", "published or interpolated");
  rule.ends = ends == "interpolated" ? Ends::interpolated : Ends::published;
  if (rule.thresholds.size() != rule.mean_duration_s.size())
    throw damaged(path, "rule has " + std::to_string(rule.thresholds.size()) + " thresholds but " +
                            std::to_string(rule.mean_duration_s.size()) + " mean durations");
  for (double value : rule.thresholds)
    if (!(value >= 0 && value <= 1)) throw damaged(path, "rule: a threshold is not a number from 0 to 1");
  for (double value : rule.mean_duration_s)
    if (!(std::isfinite(value) && value >= 0)) throw damaged(path, "rule: a mean duration is not seconds, 0 or more");
  return rule;
}

Strings classes_of(const std::string &path, const Reader &manifest) {
  Strings classes;
  for (const json &name : manifest.list("classes")) {
    if (!name.is_string() || name.get<std::string>().empty()) manifest.wrong("classes", "a list of names");
    classes.push_back(name.get<std::string>());
  }
  if (classes.empty() || std::set<std::string>(classes.begin(), classes.end()).size() != classes.size())
    throw damaged(path, "classes: expected at least one and no name twice");
  return classes;
}

std::vector<Tensor> tensors(const Reader &stage, const std::string &end) {
  std::vector<Tensor> found;
  for (const json &item : stage.list(end)) {
    Reader tensor = stage.item(item, end);
    tensor.text("dtype");
    found.push_back({tensor.text("name"), {}});
    for (const json &size : tensor.list("shape")) {
      if (!size.is_string() && !size.is_number_integer()) tensor.wrong("shape", "a list of sizes and names");
      found.back().sizes.push_back(size.is_string() ? size.get<std::string>() : size.dump());
    }
  }
  return found;
}

StageEntry stage_entry(const std::string &path, const std::string &stage, const Reader &entry, const json &listed) {
  StageEntry result{tensors(entry, "inputs"), tensors(entry, "outputs"), {}};
  Reader forms = entry.object("files");
  for (const auto &[form, _] : forms.all().items()) {
    Reader files = forms.object(form);
    for (const auto &[precision, value] : files.all().items()) {
      std::string name = files.text(precision);
      std::string what = brief(stage + " " + precision + " " + form + " is '" + name + "'");
      if (!listed.contains(name))
        throw Error(INFDET_ERROR_BUNDLE, path + ": " + what + ", which the manifest does not list");
      // files with this ending are checked
      bool onnx = name.size() >= 5 && name.compare(name.size() - 5, 5, ".onnx") == 0;
      if (kOnnxForms.count(form) && !onnx)
        throw Error(INFDET_ERROR_BUNDLE, path + ": " + what + ", expected a name that ends in .onnx");
      result.files[form][precision] = name;
    }
  }
  return result;
}

size_t frames_of(const Reader &stream, const std::string &key) {
  const json &number = stream.member(key);
  if (!number.is_number_integer() || number < 1 || number > 999) stream.wrong(key, "a whole number from 1 to 999");
  return number.get<size_t>();
}

// An object whose values are whole numbers.
void check_counts(const Reader &counts) {
  for (const auto &[key, value] : counts.all().items())
    if (!value.is_number_integer()) counts.wrong(key, "a whole number");
}

constexpr double kStateNumbers = 1 << 28; // far more than the state of any tower

// The state passed from step to step is float32 of a fixed shape, because it starts as zeros.
void check_states(const std::string &path, const std::string &stage, const Reader &entry) {
  const json &inputs = entry.list("inputs");
  for (size_t i = 2; i < inputs.size(); ++i) {
    const json &tensor = inputs[i];
    bool fits = tensor.value("dtype", json()) == "float32" && tensor.contains("shape") && tensor["shape"].is_array();
    double numbers = 1;
    if (fits)
      for (const json &size : tensor["shape"]) {
        fits = fits && size.is_number_integer() && size > 0;
        numbers *= fits ? size.get<double>() : 0;
      }
    if (!fits || numbers > kStateNumbers) throw damaged(path, "state " + brief(tensor["name"].get<std::string>()) + " of " + stage + " is not float32 of a fixed shape");
  }
}

void read_stream(Bundle &bundle, const Reader &stream, const json &listed) {
  bundle.stream = StreamEntry{frames_of(stream, "step_frames"), frames_of(stream, "delay_frames"),
                              frames_of(stream, "features_lag"), frames_of(stream, "history_frames")};
  if (stream.all().contains("state_bytes")) check_counts(stream.object("state_bytes"));
  Reader stages = stream.object("stages");
  for (const auto &[stage, _] : stages.all().items()) {
    StageEntry entry = stage_entry(bundle.path, stage, stages.object(stage), listed);
    bundle.entries.emplace(stage, std::move(entry));
  }
  for (const std::string &stage : bundle.stages)
    if (stage == "infrared_tower" || stage == "flow_tower")
      check_states(bundle.path, stage + "_stream", stages.object(stage + "_stream"));
}

// The rate `key`, if it is there and not null: above 0, and from `least` to `most`.
std::optional<double> rate_of(const Reader &preprocessing, const std::string &key, double least, double most) {
  auto rate = preprocessing.all().find(key);
  if (rate == preprocessing.all().end() || rate->is_null()) return std::nullopt;
  const double value = rate->is_number() ? rate->get<double>() : 0;
  if (!(value > 0 && value >= least && value <= most)) preprocessing.wrong(key, "frames per second");
  return value;
}

void read_preprocessing(Bundle &bundle, const Reader &preprocessing) {
  const json &size = preprocessing.member("size");
  const std::string mode = preprocessing.text("mode"), levels = preprocessing.text("levels", "range");
  if (!size.is_number_integer() || size < 32 || size > 4096 || (mode != "resize" && mode != "crop"))
    throw damaged(bundle.path, "preprocessing is " + preprocessing.all().dump(-1, ' ', true));
  if (levels != "range" && levels != "background") preprocessing.wrong("levels", "range or background");
  bundle.fps = rate_of(preprocessing, "fps", 0, std::numeric_limits<double>::max());
  bundle.size = size.get<int>();
  bundle.mode = mode == "crop" ? FrameMode::crop : FrameMode::resize;
  bundle.levels = levels == "background" ? Levels::background : Levels::range;
  bundle.frame_rate = rate_of(preprocessing, "frame_rate", 1, 1000);
}

// What this library does not use is read as strictly, so that Python and C++ accept the same bundles.
void check_unused(const Reader &manifest) {
  if (manifest.all().contains("made_by")) manifest.object("made_by");
  if (!manifest.all().contains("parity")) return;
  Reader parity = manifest.object("parity");
  for (const auto &[precision, _] : parity.all().items()) {
    Reader stages = parity.object(precision);
    for (const auto &[stage, __] : stages.all().items()) {
      Reader entry = stages.object(stage);
      if (entry.all().contains("operators")) check_counts(entry.object("operators"));
      if (entry.all().contains("float32_before") && !entry.member("float32_before").is_null())
        entry.text("float32_before");
    }
  }
}

Bundle bundle_of(const std::string &path, const json &content) {
  Reader manifest(path, content, "manifest");
  Bundle bundle;
  bundle.path = path;
  bundle.name = manifest.text("name");
  read_preprocessing(bundle, manifest.object("preprocessing"));
  Reader model = manifest.object("model");
  std::string task = model.text("task", "detection"), streams = model.text("streams", "both");
  if (task != "detection" && task != "recognition") throw damaged(path, "task is " + task);
  bundle.recognition = task == "recognition";
  if (!kStagesOf.count(streams)) throw damaged(path, "streams is " + streams);
  bundle.stages = kStagesOf.at(streams);
  bundle.classes = classes_of(path, manifest);
  Reader stages = manifest.object("stages"), files = manifest.object("files");
  for (const std::string &stage : bundle.stages)
    if (!stages.all().contains(stage))
      throw Error(INFDET_ERROR_BUNDLE, path + ": stage '" + stage + "' is missing from the manifest; export again");
  for (const auto &[stage, _] : stages.all().items())
    bundle.entries[stage] = stage_entry(path, stage, stages.object(stage), files.all());
  if (content.contains("stream") && !content["stream"].is_null())
    read_stream(bundle, manifest.object("stream"), files.all());
  check_unused(manifest);
  bundle.rule = rule_of(path, manifest);
  if (bundle.rule.thresholds.size() != bundle.classes.size())
    throw Error(INFDET_ERROR_BUNDLE, path + ": " + std::to_string(bundle.classes.size()) + " classes but " +
                                         std::to_string(bundle.rule.thresholds.size()) + " thresholds");
  return bundle;
}

} // namespace

std::string Bundle::stage_file(const std::string &stage, const std::string &precision,
                               const std::string &backend) const {
  const auto &forms = entries.at(stage).files;
  for (const std::string &form : {backend, std::string("onnx")}) {
    auto files = forms.find(form);
    if (files != forms.end() && files->second.count(precision)) return path + "/" + files->second.at(precision);
  }
  std::string have;
  if (forms.count("onnx"))
    for (const auto &[held, _] : forms.at("onnx")) have += (have.empty() ? "" : ", ") + held;
  throw Error(INFDET_ERROR_ARGUMENT, path + " has no " + brief(precision) + " onnx of " + stage + "; it has " +
                                         (have.empty() ? "none" : brief(have)));
}

std::string Bundle::fixed_shapes_file(const std::string &stage, const std::string &precision,
                                      const std::string &backend) const {
  const auto &forms = entries.at(stage).files;
  auto files = forms.find(backend + "_fixed_shapes");
  return files != forms.end() && files->second.count(precision) ? path + "/" + files->second.at(precision) : "";
}

Bundle read_bundle_text(const std::string &path, const std::string &text) {
  json manifest = parse_manifest(path, text);
  Bundle bundle = bundle_of(path, manifest);
  check_listing(path, manifest["files"]);
  return bundle;
}

Bundle load_bundle(const std::string &given) {
  std::string path = given;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  struct stat found;
  if (stat(path.c_str(), &found) || !S_ISDIR(found.st_mode))
    throw Error(INFDET_ERROR_BUNDLE,
                "no such bundle: " + brief(path, 1000) + " (a folder NAME.infdet that infdet-deploy export writes)");
  json manifest = read_manifest(path);
  Bundle bundle = bundle_of(path, manifest);
  check_files(path, manifest["files"]);
  return bundle;
}

} // namespace infdet::detail
