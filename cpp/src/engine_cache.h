// The engine cache written by `infdet-deploy build`, and which engines a device can run. See Python's
// runtime/backends/tensorrt/cache.py.
#pragma once

#include <string>

namespace infdet::detail {

// The GPU in use, its compute capability such as "8.6", and the version of TensorRT such as "10.13.3".
struct EngineDevice {
  std::string gpu, capability, version;
};

struct Engine {
  std::string path, bytes;
  bool version_compatible; // it contains code of its TensorRT version
};

// The newest engine of the stage at `onnx` that this device can run, with its hash checked. Throws Error if there is none
// or if it was changed.
Engine find_engine(const std::string &onnx, const std::string &precision, const EngineDevice &device);

} // namespace infdet::detail
