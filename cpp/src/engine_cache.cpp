// 1. NAME.engines/ next to NAME.infdet/ contains STAGE.PRECISION.KEY.engine and a record, the same name with .json.
// 2. A record has the SHA-256 of the graph, the GPU, the TensorRT version and the SHA-256 of the engine. Damaged records,
//    records of another format and records without an engine are ignored.
#include "engine_cache.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include <nlohmann/json.hpp>

#include "error.h"
#include "file.h"
#include "sha256.h"

namespace infdet::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kRecordFormat = 1;
constexpr size_t kRecordBytes = 1'000'000;

std::array<int, 3> numbers(const std::string &version) {
  std::array<int, 3> found{};
  std::sscanf(version.c_str(), "%d.%d.%d", &found[0], &found[1], &found[2]);
  return found;
}

bool flag(const json &options, const char *name) {
  auto found = options.find(name);
  return found != options.end() && found->is_boolean() && found->get<bool>();
}

bool runs_on(const json &key, const EngineDevice &device) {
  const json &options = key.at("options");
  bool same_gpu = key.at("gpu") == device.gpu && key.at("capability") == device.capability;
  if (flag(options, "hardware_compatible")) same_gpu = same_gpu || numbers(device.capability)[0] >= 8; // Ampere
  // the library's version has three numbers, the Python package's has four
  const auto ours = numbers(device.version), theirs = numbers(key.at("version").get<std::string>());
  bool same_version = ours == theirs;
  if (flag(options, "version_compatible")) same_version = same_version || (ours[0] == theirs[0] && ours >= theirs);
  return same_gpu && same_version;
}

std::optional<json> read_record(const fs::path &path) {
  try {
    json record = json::parse(File(path.string()).read(kRecordBytes));
    const json &key = record.at("key");
    bool whole = record.at("format") == kRecordFormat && record.at("engine_sha256").is_string() &&
                 key.at("onnx_sha256").is_string() && key.at("options").is_object() && key.at("version").is_string();
    if (whole && key.contains("target") && key.contains("gpu") && key.contains("capability")) return record;
  } catch (const json::exception &) { // ignored, as if missing
  } catch (const std::system_error &) {
  }
  return std::nullopt;
}

// The records of a stage in a precision, newest first.
std::vector<fs::path> records(const fs::path &folder, const std::string &begin) {
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code none;
  for (const auto &entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    if (name.compare(0, begin.size(), begin) == 0 && entry.path().extension() == ".json")
      found.emplace_back(fs::last_write_time(entry.path(), none), entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> paths;
  for (auto &[_, path] : found) paths.push_back(std::move(path));
  return paths;
}

Engine load(const fs::path &path, const json &record) {
  File file(path.string());
  Engine engine{path.string(), file.read(file.size()), flag(record.at("key").at("options"), "version_compatible")};
  if (sha256(engine.bytes) != record.at("engine_sha256").get<std::string>())
    throw Error(INFDET_ERROR_BACKEND,
                path.string() + " was changed since it was built (SHA-256 differs); delete it and build again");
  return engine;
}

} // namespace

Engine find_engine(const std::string &onnx, const std::string &precision, const EngineDevice &device) {
  const fs::path file = fs::canonical(onnx), bundle = file.parent_path();
  const std::string name = file.filename().string(), stage = name.substr(0, name.find('.'));
  std::string digest;
  for (const fs::path &path : records(fs::path(bundle).replace_extension(".engines"), stage + "." + precision + ".")) {
    const std::optional<json> record = read_record(path);
    if (!record) continue;
    if (digest.empty()) digest = File(file.string()).sha256();
    const json &key = record->at("key");
    if (key.at("target") != "tensorrt" || key.at("onnx_sha256") != digest || !runs_on(key, device)) continue;
    const fs::path engine = fs::path(path).replace_extension(".engine");
    if (fs::is_regular_file(engine)) return load(engine, *record);
  }
  throw Error(INFDET_ERROR_BACKEND, "no engine of " + name + " for " + device.gpu + " and TensorRT " + device.version +
                                        ": infdet-deploy build " + bundle.filename().string() +
                                        " --target tensorrt --precision " + precision);
}

} // namespace infdet::detail
