// An engine of the double is the text "PLAN " and the name of the stage; it computes like the backend double. It refuses
// what TensorRT refuses, in the same way: null or false.
#include <cstring>
#include <memory>

#include "NvInferRuntime.h"
#include "backend.h"
#include "device.h"

namespace infdet::test {

using nvinfer1::DataType;
using nvinfer1::Dims;

struct Tensor {
  const char *name;
  bool input;
  DataType type;
  Dims dims;
  int64_t least, most; // of the varying dimension
};

struct Plan {
  std::string stage;
  std::vector<Tensor> tensors;
};

namespace {

const Plan plans[] = {
    {"fen", {{"frames", true, DataType::kUINT8, {3, {-1, 32, 32}}, 2, 385}, {"flow", false, DataType::kFLOAT, {4, {-1, 3, 2, 2}}, 0, 0}}},
    {"infrared_tower",
     {{"frames", true, DataType::kUINT8, {3, {-1, 32, 32}}, 16, 384}, {"features", false, DataType::kFLOAT, {2, {-1, 4}}, 0, 0}}},
    {"flow_tower",
     {{"flow", true, DataType::kFLOAT, {4, {-1, 3, 2, 2}}, 16, 384}, {"features", false, DataType::kFLOAT, {2, {-1, 4}}, 0, 0}}},
    {"head",
     {{"infrared_features", true, DataType::kFLOAT, {2, {-1, 4}}, 1, 120},
      {"flow_features", true, DataType::kFLOAT, {2, {-1, 4}}, 1, 120},
      {"length", true, DataType::kINT64, {1, {1}}, 0, 0},
      {"scores", false, DataType::kFLOAT, {2, {-1, 2}}, 0, 0}}},
};

const Tensor *tensor_of(const Plan &plan, const std::string &name) {
  for (const Tensor &tensor : plan.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

size_t count_of(const Dims &dims) {
  size_t count = 1;
  for (int32_t i = 0; i < dims.nbDims; ++i) count *= static_cast<size_t>(dims.d[i]);
  return count;
}

size_t bytes_of(const Tensor &tensor, const Dims &dims) {
  return count_of(dims) * (tensor.type == DataType::kUINT8 ? 1 : tensor.type == DataType::kINT64 ? 8 : 4);
}

bool varies(const Dims &dims) { return dims.d[0] < 0; }

int64_t output_rows(const std::string &stage, int64_t input) {
  return stage == "fen" ? input - 1 : stage == "head" ? input : (input + 7) / 8 - 1;
}

} // namespace
} // namespace infdet::test

namespace nvinfer1 {

using namespace infdet::test;

bool IExecutionContext::setInputShape(const char *name, const Dims &dims) noexcept {
  const Tensor *tensor = tensor_of(plan_, name);
  if (!tensor || !tensor->input || dims.nbDims != tensor->dims.nbDims || !varies(tensor->dims)) return false;
  if (dims.d[0] < tensor->least || dims.d[0] > tensor->most) return false;
  for (int32_t i = 1; i < dims.nbDims; ++i)
    if (dims.d[i] != tensor->dims.d[i]) return false;
  shapes_[name] = dims;
  return true;
}

Dims IExecutionContext::getTensorShape(const char *name) const noexcept {
  const Tensor *tensor = tensor_of(plan_, name);
  if (!tensor) return {-1, {}};
  if (!varies(tensor->dims)) return tensor->dims;
  Dims dims = tensor->dims;
  auto own = shapes_.find(tensor->input ? name : plan_.tensors[0].name);
  if (own == shapes_.end()) return tensor->dims;
  dims.d[0] = tensor->input ? own->second.d[0] : output_rows(plan_.stage, own->second.d[0]);
  return dims;
}

bool IExecutionContext::setTensorAddress(const char *name, void *data) noexcept {
  if (!tensor_of(plan_, name) || !data) return false;
  addresses_[name] = data;
  return true;
}

void IExecutionContext::setDeviceMemoryV2(void *memory, int64_t bytes) noexcept {
  scratch_ = bytes >= 1024 && on_device(memory, static_cast<size_t>(bytes));
}

int32_t IExecutionContext::inferShapes(int32_t, const char **) noexcept {
  int32_t missing = 0;
  for (const Tensor &tensor : plan_.tensors) missing += tensor.input && varies(getTensorShape(tensor.name));
  return missing;
}

bool IExecutionContext::enqueueV3(cudaStream_t stream) noexcept {
  if (!scratch_ || inferShapes(0, nullptr)) return false;
  infdet::detail::StageRequest request;
  request.stage = plan_.stage;
  std::vector<infdet::detail::Feed> feeds;
  void *target = nullptr;
  size_t size = 0;
  for (const Tensor &tensor : plan_.tensors) {
    const Dims dims = getTensorShape(tensor.name);
    auto address = addresses_.find(tensor.name);
    if (address == addresses_.end() || !on_device(address->second, bytes_of(tensor, dims))) return false;
    if (!tensor.input) {
      request.outputs.push_back(tensor.name);
      target = address->second, size = bytes_of(tensor, dims);
      continue;
    }
    request.inputs.push_back(tensor.name);
    const auto type = tensor.type == DataType::kUINT8   ? infdet::detail::Type::uint8
                      : tensor.type == DataType::kINT64 ? infdet::detail::Type::int64
                                                        : infdet::detail::Type::float32;
    feeds.push_back({tensor.name, type, infdet::detail::Shape(dims.d, dims.d + dims.nbDims), address->second});
  }
  std::shared_ptr<infdet::detail::Stage> stage = infdet::detail::open_stage("double", request);
  return enqueue(stream, [=] {
    const auto found = stage->run(feeds);
    std::memcpy(target, found[0].values.data(), std::min(size, found[0].values.size() * sizeof(float)));
  });
}

int32_t ICudaEngine::getNbIOTensors() const noexcept { return static_cast<int32_t>(plan_.tensors.size()); }
const char *ICudaEngine::getIOTensorName(int32_t index) const noexcept { return plan_.tensors[static_cast<size_t>(index)].name; }
TensorIOMode ICudaEngine::getTensorIOMode(const char *name) const noexcept {
  return tensor_of(plan_, name)->input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}
Dims ICudaEngine::getTensorShape(const char *name) const noexcept { return tensor_of(plan_, name)->dims; }
DataType ICudaEngine::getTensorDataType(const char *name) const noexcept { return tensor_of(plan_, name)->type; }

Dims ICudaEngine::getProfileShape(const char *name, int32_t profile, OptProfileSelector select) const noexcept {
  const Tensor &tensor = *tensor_of(plan_, name);
  if (profile || !tensor.input || !varies(tensor.dims)) return {-1, {}};
  Dims dims = tensor.dims;
  dims.d[0] = select == OptProfileSelector::kMIN ? tensor.least : tensor.most;
  return dims;
}

IExecutionContext *ICudaEngine::createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept {
  return strategy == ExecutionContextAllocationStrategy::kUSER_MANAGED ? new IExecutionContext(plan_) : nullptr;
}

ICudaEngine *IRuntime::deserializeCudaEngine(const void *data, size_t bytes) noexcept {
  const std::string text(static_cast<const char *>(data), bytes);
  for (const Plan &plan : plans)
    if (text == "PLAN " + plan.stage) return new ICudaEngine(plan);
  logger_.log(ILogger::Severity::kERROR, "not an engine");
  return nullptr;
}

IRuntime *createInferRuntime(ILogger &logger) noexcept { return new IRuntime(logger); }

} // namespace nvinfer1

int32_t getInferLibVersion() noexcept { return 101303; }
