// The TensorRT backend with a double of TensorRT and CUDA: which engines it loads, and its results.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "backend_double.h"
#include "check.h"
#include "double/device.h"
#include "infdet.h"
#include "sha256.h"

namespace {

namespace fs = std::filesystem;
using infdet::detail::sha256;
using infdet::test::kSide;
using Found = std::vector<infdet_detection>;

std::string folder;

std::string read(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Write an engine and its record as Python's build does.
void write_engine(const std::string &stage, const std::string &key = "0123456789abcdef", const std::string &gpu = "Orin",
                  const std::string &capability = "8.7", const std::string &version = "10.13.3.9",
                  const std::string &options = "{}", const std::string &plan = "") {
  const std::string engine = plan.empty() ? "PLAN " + stage : plan, base = folder + "/double.engines/" + stage + ".float32." + key;
  fs::create_directory(folder + "/double.engines");
  std::ofstream(base + ".engine", std::ios::binary) << engine;
  std::ofstream(base + ".json") << R"({"format": 1, "stage": ")" << stage
                                << R"(", "precision": "float32", "key": {"target": "tensorrt", "onnx_sha256": ")"
                                << sha256(read(folder + "/double.infdet/" + stage + ".float32.onnx")) << R"(", "gpu": ")" << gpu
                                << R"(", "capability": ")" << capability << R"(", "version": ")" << version
                                << R"(", "options": )" << options << R"(}, "engine_bytes": )" << engine.size()
                                << R"(, "engine_sha256": ")" << sha256(engine) << "\"}";
}

void write_engines() {
  fs::remove_all(folder + "/double.engines");
  for (const char *stage : {"fen", "infrared_tower", "flow_tower", "head"}) write_engine(stage);
}

infdet_status open(const char *backend, infdet_model **model) {
  infdet_options options = infdet_default_options();
  options.backend = backend;
  return infdet_open((folder + "/double.infdet").c_str(), &options, model);
}

infdet_model *opened(const char *backend) {
  infdet_model *model = nullptr;
  if (open(backend, &model) != INFDET_OK) std::fprintf(stderr, "%s\n", infdet_last_error());
  CHECK(model);
  return model;
}

std::vector<uint8_t> clip(size_t count, size_t seed = 0) {
  std::vector<uint8_t> frames;
  for (size_t t = 0; t < count; ++t)
    for (size_t i = 0; i < kSide * kSide; ++i) frames.push_back(static_cast<uint8_t>((t + seed) * (3 + i % 4) + i / 32));
  return frames;
}

Found detected(infdet_model *model, const std::vector<uint8_t> &frames) {
  infdet_detection *found = nullptr;
  size_t count = 0;
  CHECK(infdet_detect(model, frames.data(), frames.size() / (kSide * kSide), kSide, kSide, 25, &found, &count) == INFDET_OK);
  Found result(found, found + count);
  infdet_free_detections(found);
  return result;
}

bool same(const Found &ours, const Found &theirs) {
  bool equal = ours.size() == theirs.size();
  for (size_t i = 0; equal && i < ours.size(); ++i) equal = !std::memcmp(&ours[i], &theirs[i], sizeof ours[i]);
  return equal;
}

// Several chunk lengths, so that graphs are recorded, reused and dropped. Flow stays on the GPU between stages; its last
// frame is cleared at the end of a clip.
void test_detections_match_the_backend_double() {
  for (bool refuse : {false, true}) {
    infdet::test::refuse_capture = refuse;
    infdet_model *ours = opened("tensorrt"), *reference = opened("double");
    const size_t before = infdet::test::launches();
    for (int round = 0; round < 2; ++round)
      for (size_t count = 16; count < 900; count += 76) {
        const Found expected = detected(reference, clip(count));
        CHECK(same(detected(ours, clip(count)), expected));
        CHECK(count < 100 || !expected.empty());
      }
    CHECK((infdet::test::launches() > before + 40) == !refuse);
    CHECK(infdet_close(ours) == INFDET_OK && infdet_close(reference) == INFDET_OK);
    CHECK(infdet::test::held() == 0);
  }
  infdet::test::refuse_capture = false;
}

void test_each_thread_has_a_lane() {
  infdet_model *ours = opened("tensorrt"), *reference = opened("double");
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 8; ++i)
    threads.emplace_back([=] {
      for (size_t round = 0; round < 3; ++round) CHECK(same(detected(ours, clip(200 + 8 * i, i)), detected(reference, clip(200 + 8 * i, i))));
    });
  for (std::thread &thread : threads) thread.join();
  infdet_close(ours);
  infdet_close(reference);
  CHECK(infdet::test::held() == 0);
}

void refused(const char *text) {
  infdet_model *model = nullptr;
  CHECK(open("tensorrt", &model) == INFDET_ERROR_BACKEND && !model);
  if (!std::strstr(infdet_last_error(), text)) std::fprintf(stderr, "%s\n", infdet_last_error());
  CHECK(std::strstr(infdet_last_error(), text));
  CHECK(infdet::test::held() == 0);
}

void test_engines_for_other_devices_are_ignored() {
  const std::string engines = folder + "/double.engines/", head = "head.float32.0123456789abcdef";
  const char *none = "no engine of head.float32.onnx for Orin and TensorRT 10.13.3: infdet-deploy build double.infdet";
  fs::remove(engines + head + ".json");
  refused(none);
  std::ofstream(engines + head + ".json") << "{\"format\": 1, \"key\": []}";
  refused(none);
  write_engine("head", "0123456789abcdef", "Xavier", "7.2");
  refused(none);
  write_engine("head", "0123456789abcdef", "Xavier", "7.2", "10.13.3.9", R"({"hardware_compatible": true})");
  infdet_close(opened("tensorrt")); // this GPU is Ampere or later
  write_engine("head", "0123456789abcdef", "Orin", "8.7", "10.9.0.34");
  refused(none);
  write_engine("head", "0123456789abcdef", "Orin", "8.7", "10.14.0", R"({"version_compatible": true})");
  refused(none); // from a later version
  write_engine("head", "0123456789abcdef", "Orin", "8.7", "10.9.0.34", R"({"version_compatible": true})");
  infdet_close(opened("tensorrt"));
  write_engine("head");
  std::ofstream(engines + head + ".engine") << "changed";
  refused("was changed since it was built (SHA-256 differs); delete it and build again");
  write_engine("head", "0123456789abcdef", "Orin", "8.7", "10.13.3.9", "{}", "garbage");
  refused("TensorRT does not load");
  write_engines();
}

void test_a_clip_longer_than_the_engine() {
  infdet_model *model = opened("tensorrt");
  infdet_detection *found = nullptr;
  size_t count = 0;
  const auto frames = clip(1000);
  CHECK(infdet_detect(model, frames.data(), 1000, kSide, kSide, 25, &found, &count) == INFDET_ERROR_BACKEND);
  CHECK(std::strstr(infdet_last_error(), "infrared_features has shape [124, 4], the engine supports [1, 4] to [120, 4]; "
                                         "infdet-deploy build --target tensorrt, with larger --frames or --clip-frames"));
  infdet_close(model);
  CHECK(infdet::test::held() == 0);
}

} // namespace

int main() {
  folder = infdet::test::prepared_folder();
  infdet::detail::add_backend("tensorrt", infdet::detail::open_tensorrt);
  write_engines();
  test_detections_match_the_backend_double();
  test_each_thread_has_a_lane();
  test_engines_for_other_devices_are_ignored();
  test_a_clip_longer_than_the_engine();
  fs::remove_all(folder);
  std::puts("all passed");
}
