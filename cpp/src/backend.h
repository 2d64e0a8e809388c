// What every inference backend offers, and how to get one by name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace infdet::detail {

enum class Type { uint8, int64, float32 };

// One input: C-contiguous, in the stage's type.
struct Feed {
  const char *name;
  Type type;
  std::vector<size_t> shape;
  const void *data;
};

struct Output {
  std::vector<size_t> shape;
  std::vector<float> values;
};

// One compiled stage. Many threads may call run at once.
class Stage {
public:
  virtual ~Stage() = default;
  // Compute the stage's output. Throws any std::exception where that fails.
  virtual Output run(const std::vector<Feed> &feeds) = 0;
};

struct StageRequest {
  std::string file;      // of the stage, an ONNX file in a bundle
  std::string stage;     // fen, infrared_tower, flow_tower, head
  std::string precision; // float32, bfloat16, float16, int8
  std::vector<std::string> inputs;
  std::string output;
  int threads = 0; // 0: as many as the backend thinks right
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
