// What every inference backend offers, and how to get one by name.
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

// One input: C-contiguous, in the stage's type.
struct Feed {
  const char *name;
  Type type;
  Shape shape;
  const void *data;
  bool on_device = false; // `data` lies where the backend computes, as a DeviceOutput says
};

struct Output {
  Shape shape;
  std::vector<float> values;
};

// An output left where the backend computes, such as on a GPU, until the object goes.
class DeviceOutput {
public:
  virtual ~DeviceOutput() = default;
  virtual const void *data() const = 0;
  // Set the last frame, along the first dimension, to zero. Throws any std::exception where that fails.
  virtual void clear_last() = 0;
  Shape shape;
};

// One compiled stage. Many threads may call it at once.
class Stage {
public:
  virtual ~Stage() = default;
  // Compute the stage's outputs, in the order of the request. Throws any std::exception where that fails.
  virtual std::vector<Output> run(const std::vector<Feed> &feeds) = 0;
  // Compute and leave the first output there for the next stage; null where the backend computes in plain memory.
  virtual std::unique_ptr<DeviceOutput> run_on_device(const std::vector<Feed> &) { return nullptr; }
};

struct StageRequest {
  std::string file;      // of the stage, an ONNX file in a bundle
  std::string stage;     // fen, infrared_tower, flow_tower, head; of towers as steps infrared_tower_stream, ...
  std::string precision; // float32, bfloat16, float16, int8
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;    // those to be read
  std::map<std::string, Shape> shapes; // of inputs, where they never vary
  int threads = 0;                     // 0: as many as the backend thinks right
};

using OpenStage = std::function<std::unique_ptr<Stage>(const StageRequest &)>;

// Compile a stage. Throws Error for an unknown backend, and where the backend refuses the stage.
std::unique_ptr<Stage> open_stage(const std::string &backend, const StageRequest &request);

// Whether this build has the backend; Error naming those that it has where not.
void check_backend(const std::string &backend);

// Add one to the list, or replace it; before any model is opened. Tests bring their own.
void add_backend(const std::string &name, OpenStage open);

// One file each, where the build has them.
std::unique_ptr<Stage> open_openvino(const StageRequest &request);
std::unique_ptr<Stage> open_tensorrt(const StageRequest &request);

} // namespace infdet::detail
