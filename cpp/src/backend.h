// The interface of inference backends, and their list.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace infdet::detail {

using Shape = std::vector<size_t>;

enum class Type { uint8, int64, float32 };

// One input: C-contiguous, of the type that the stage expects.
struct Feed {
  const char *name;
  Type type;
  Shape shape;
  const void *data;
  bool on_device = false; // `data` is device memory, from DeviceOutput::data()
};

struct Output {
  Shape shape;
  std::vector<float> values;
};

// An output in device memory, valid as long as this object.
class DeviceOutput {
public:
  virtual ~DeviceOutput() = default;
  virtual const void *data() const = 0;
  // Set the last frame (first dimension) to zero. Throws std::exception on failure.
  virtual void clear_last() = 0;
  Shape shape;
};

// A compiled stage. Many threads may call it at once.
class Stage {
public:
  virtual ~Stage() = default;
  // Compute the outputs in the order of the request. Throws std::exception on failure.
  virtual std::vector<Output> run(const std::vector<Feed> &feeds) = 0;
  // Compute and keep the first output on the device for the next stage; null if the backend has no device memory.
  virtual std::unique_ptr<DeviceOutput> run_on_device(const std::vector<Feed> &) { return nullptr; }
};

struct StageRequest {
  std::string file;      // the ONNX file of the stage in a bundle
  std::string stage;     // fen, infrared_tower, flow_tower, head; incremental towers: infrared_tower_stream, ...
  std::string precision; // float32, bfloat16, float16, int8
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;    // outputs to return
  std::map<std::string, Shape> shapes; // input shapes, if they never vary
  int threads = 0;                     // 0: the backend decides
  std::string fixed_file = {};         // the same stage in a file that is faster if the shapes are known; may be empty
};

using OpenStage = std::function<std::unique_ptr<Stage>(const StageRequest &)>;

// Compile a stage. Throws Error if the backend is unknown or refuses the stage.
std::unique_ptr<Stage> open_stage(const std::string &backend, const StageRequest &request);

// Throw Error, with the names of the backends, if this build does not have this backend.
void check_backend(const std::string &backend);

// Add or replace a backend before any model is opened. For tests.
void add_backend(const std::string &name, OpenStage open);

// One file each, if the build includes it.
std::unique_ptr<Stage> open_openvino(const StageRequest &request);
std::unique_ptr<Stage> open_tensorrt(const StageRequest &request);

} // namespace infdet::detail
