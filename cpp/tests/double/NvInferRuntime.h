// The double of TensorRT's runtime: the part of NVIDIA's interface that backend_tensorrt.cpp uses.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cuda_runtime_api.h"

namespace infdet::test {
struct Plan;
}

namespace nvinfer1 {

struct Dims64 {
  int32_t nbDims;
  int64_t d[8];
};
using Dims = Dims64;

enum class DataType : int32_t { kFLOAT = 0, kUINT8 = 5, kINT64 = 8 };
enum class TensorIOMode : int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0, kON_PROFILE_CHANGE = 1, kUSER_MANAGED = 2 };

class ILogger {
public:
  enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  virtual void log(Severity severity, const char *text) noexcept = 0;
  virtual ~ILogger() = default;
};

class IExecutionContext {
public:
  explicit IExecutionContext(const infdet::test::Plan &plan) : plan_(plan) {}
  bool setInputShape(const char *name, const Dims &dims) noexcept;
  Dims getTensorShape(const char *name) const noexcept;
  bool setTensorAddress(const char *name, void *data) noexcept;
  void setDeviceMemoryV2(void *memory, int64_t bytes) noexcept;
  int32_t inferShapes(int32_t most, const char **names) noexcept;
  bool enqueueV3(cudaStream_t stream) noexcept;

private:
  const infdet::test::Plan &plan_;
  std::map<std::string, Dims> shapes_;
  std::map<std::string, void *> addresses_;
  bool scratch_ = false;
};

class ICudaEngine {
public:
  explicit ICudaEngine(const infdet::test::Plan &plan) : plan_(plan) {}
  int32_t getNbIOTensors() const noexcept;
  const char *getIOTensorName(int32_t index) const noexcept;
  TensorIOMode getTensorIOMode(const char *name) const noexcept;
  Dims getTensorShape(const char *name) const noexcept;
  DataType getTensorDataType(const char *name) const noexcept;
  Dims getProfileShape(const char *name, int32_t profile, OptProfileSelector select) const noexcept;
  int64_t getDeviceMemorySizeV2() const noexcept { return 1024; }
  IExecutionContext *createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept;

private:
  const infdet::test::Plan &plan_;
};

class IRuntime {
public:
  explicit IRuntime(ILogger &logger) : logger_(logger) {}
  void setEngineHostCodeAllowed(bool) noexcept {}
  ICudaEngine *deserializeCudaEngine(const void *plan, size_t bytes) noexcept;

private:
  ILogger &logger_;
};

IRuntime *createInferRuntime(ILogger &logger) noexcept;

} // namespace nvinfer1

int32_t getInferLibVersion() noexcept;
