#include "backend_double.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <unistd.h>

#include "backend.h"
#include "check.h"
#include "model.h"
#include "sha256.h"

namespace infdet::test {
namespace {

using namespace infdet::detail;

constexpr size_t kChannels = 4, kLag = 2, kPast = 8 * kLag, kHistory = 40, kClasses = 2, kFlow = 3;

enum class Fault { none, throws, odd, memory, nan, short_rows };

const Feed &feed(const std::vector<Feed> &feeds, const std::string &name) {
  for (const Feed &one : feeds)
    if (name == one.name) return one;
  throw std::runtime_error("input " + name + " is missing");
}

void expect(const Feed &one, Type type, const Shape &shape) {
  if (one.type != type || one.shape != shape || one.on_device) throw std::runtime_error(std::string(one.name) + " is wrong");
}

template <class T> const T *values(const Feed &one) { return static_cast<const T *>(one.data); }

// Channel c of a frame or a flow field: the mean of every fourth number from c.
template <class T> float channel(const T *numbers, size_t count, size_t c) {
  float sum = 0;
  for (size_t i = c; i < count; i += kChannels) sum += static_cast<float>(numbers[i]);
  return sum / static_cast<float>(count / kChannels);
}

// The channels of every frame, float [count, kChannels]; zero if `inside` is 0.
template <class T>
std::vector<float> channels(const T *frames, size_t count, size_t frame_size, const float *inside) {
  std::vector<float> found(count * kChannels);
  for (size_t i = 0; i < found.size(); ++i)
    if (const size_t frame = i / kChannels; !inside || inside[frame] > 0)
      found[i] = channel(frames + frame * frame_size, frame_size, i % kChannels);
  return found;
}

// Feature j is the sum over 16 frames starting at first + 8 j; frames after the last are zero.
Output features(const std::vector<float> &frames, size_t first, size_t rows) {
  Output output{{rows, kChannels}, {}};
  for (size_t row = 0; row < rows; ++row)
    for (size_t c = 0; c < kChannels; ++c) {
      float sum = 0;
      for (size_t frame = first + 8 * row; frame < first + 8 * row + 16; ++frame)
        if (frame * kChannels < frames.size()) sum += frames[frame * kChannels + c];
      output.values.push_back(sum);
    }
  return output;
}

class DoubleStage : public Stage {
public:
  DoubleStage(const StageRequest &request, Fault fault) : request_(request), fault_(fault) {}

  std::vector<Output> run(const std::vector<Feed> &feeds) override {
    if (fault_ == Fault::throws) throw std::runtime_error("the double\nfails");
    if (fault_ == Fault::odd) throw 7;
    if (fault_ == Fault::memory) throw std::bad_alloc();
    if (feeds.size() != request_.inputs.size()) throw std::runtime_error("another number of inputs");
    if (request_.stage == "fen") return {flow(feed(feeds, "frames"))};
    if (request_.stage == "head") return {head(feeds)};
    return request_.stage.find("infrared") == 0 ? tower<uint8_t>(feeds, "frames") : tower<float>(feeds, "flow");
  }

private:
  static Output flow(const Feed &frames) {
    const size_t count = frames.shape.at(0) - 1, size = kSide * kSide;
    expect(frames, Type::uint8, {count + 1, kSide, kSide});
    Output output{{count, kFlow, 2, 2}, {}};
    for (size_t frame = 0; frame < count; ++frame)
      for (size_t i = 0; i < kFlow * 4; ++i)
        output.values.push_back(channel(values<uint8_t>(frames) + (frame + 1) * size, size, i % kChannels) -
                                channel(values<uint8_t>(frames) + frame * size, size, i % kChannels));
    return output;
  }

  template <class T> std::vector<Output> tower(const std::vector<Feed> &feeds, const char *name) const {
    const Feed &x = feed(feeds, name);
    const size_t count = x.shape.at(0);
    size_t frame_size = 1;
    for (size_t i = 1; i < x.shape.size(); ++i) frame_size *= x.shape[i];
    if (request_.outputs.size() == 1) {
      const size_t rows = fault_ == Fault::short_rows ? 0 : feature_length(count);
      return {features(channels(values<T>(x), count, frame_size, nullptr), 0, rows)};
    }
    std::vector<float> frames = channels(values<T>(x), count, frame_size, values<float>(feed(feeds, "inside")) + kHistory);
    expect(feed(feeds, "past"), Type::float32, {kPast, kChannels});
    const float *past = values<float>(feed(feeds, "past"));
    frames.insert(frames.begin(), past, past + kPast * kChannels);
    const Output next{{kPast, kChannels}, {frames.end() - kPast * kChannels, frames.end()}};
    const size_t behind = std::is_same_v<T, float>; // flow is one frame behind
    return {features(frames, kPast - 8 * kLag + behind, count / 8), next};
  }

  Output head(const std::vector<Feed> &feeds) const {
    const Feed &infrared = feed(feeds, "infrared_features"), &flow = feed(feeds, "flow_features");
    expect(flow, Type::float32, infrared.shape);
    expect(feed(feeds, "length"), Type::int64, {1});
    Output scores{{infrared.shape.at(0), kClasses}, {}};
    for (size_t row = 0; row < scores.shape[0]; ++row)
      for (size_t c = 0; c < kClasses; ++c) {
        float level = values<float>(infrared)[row * kChannels + c] / 256 - 8 + values<float>(flow)[row * kChannels + c] / 64;
        scores.values.push_back(fault_ == Fault::nan ? NAN : 1 / (1 + std::exp(-level)));
      }
    return scores;
  }

  const StageRequest request_;
  const Fault fault_;
};

std::string tensor(const std::string &name, const std::string &shape, const std::string &type = "float32") {
  return R"({"name": ")" + name + R"(", "dtype": ")" + type + R"(", "shape": )" + shape + "}";
}

std::string stage(const std::string &name, const std::string &inputs, const std::string &outputs) {
  return "\"" + name + R"(": {"inputs": [)" + inputs + R"(], "outputs": [)" + outputs + R"(], "files": {"onnx": {"float32": ")" +
         name + R"(.float32.onnx"}}})";
}

} // namespace

void add_double() {
  const std::pair<const char *, Fault> faults[] = {
      {"double", Fault::none}, {"double-throws", Fault::throws}, {"double-odd", Fault::odd},
      {"double-memory", Fault::memory}, {"double-nan", Fault::nan}, {"double-short", Fault::short_rows}};
  for (const auto &[name, fault] : faults)
    add_backend(name, [fault = fault](const StageRequest &request) { return std::make_unique<DoubleStage>(request, fault); });
}

std::string sealed(const std::string &rest) {
  const std::string zeros(64, '0');
  std::string text = "{\"sha256\": \"" + zeros + "\", " + rest;
  text.replace(text.find(zeros), zeros.size(), sha256(text));
  return text;
}

void write_manifest(const std::string &path, const std::string &rest) {
  std::ofstream(path + "/manifest.json", std::ios::binary) << sealed(rest);
}

void write_bundle(const std::string &path, const std::string &preprocessing, const std::string &rule) {
  std::filesystem::create_directory(path);
  const std::string onnx("\x08\x08\x3A\x03\x12\x01g", 7); // an empty graph named "g"
  std::string files;
  for (const char *name : {"fen", "infrared_tower", "flow_tower", "head", "infrared_tower_stream", "flow_tower_stream"}) {
    const std::string file = std::string(name) + ".float32.onnx";
    std::ofstream(path + "/" + file, std::ios::binary) << onnx;
    files += (files.empty() ? "\"" : ", \"") + file + R"(": {"bytes": 7, "sha256": ")" + sha256(onnx) + "\"}";
  }
  const std::string frames = tensor("frames", "[\"8n\", 32, 32]", "uint8"), past = tensor("past", "[16, 4]");
  const std::string flow = tensor("flow", "[\"8n\", 3, 2, 2]"), inside = tensor("inside", "[\"8n+40\"]");
  const std::string both = tensor("features", "[\"n\", 4]") + ", " + tensor("next.past", "[16, 4]");
  const std::string head = tensor("infrared_features", "[\"T'\", 4]") + ", " + tensor("flow_features", "[\"T'\", 4]") + ", " +
                           tensor("length", "[1]", "int64");
  write_manifest(path,
                 R"("format": 2, "name": "double", "model": {"streams": "both", "task": "detection"},
"preprocessing": {"size": 32, "mode": "resize")" + preprocessing + R"(}, "classes": ["rise", "fall"],
"rule": {"thresholds": [0.5, 0.5], "mean_duration_s": [0.2, 0.2], "split_long": false)" + rule + R"(},
"stages": {)" + stage("fen", tensor("frames", "[\"T+1\", 32, 32]", "uint8"), tensor("flow", "[\"T\", 3, 2, 2]")) +
                     ", " + stage("infrared_tower", frames, both) + ", " + stage("flow_tower", flow, both) + ", " +
                     stage("head", head, tensor("scores", "[\"T'\", 2]")) + R"(},
"stream": {"step_frames": 8, "delay_frames": 8, "features_lag": 2, "history_frames": 40, "stages": {)" +
                     stage("infrared_tower_stream", frames + ", " + inside + ", " + past, both) + ", " +
                     stage("flow_tower_stream", flow + ", " + inside + ", " + past, both) + R"(}},
"files": {)" + files + "}}\n");
}

std::string prepared_folder() {
  char name[] = "/tmp/infdet-test-XXXXXX";
  CHECK(mkdtemp(name));
  add_double();
  write_bundle(std::string(name) + "/double.infdet");
  write_bundle(std::string(name) + "/background.infdet", R"(, "levels": "background", "frame_rate": 9)",
               R"(, "ends": "interpolated")");
  return name;
}

} // namespace infdet::test
