// The engines that Python's `infdet-deploy build` keeps beside a bundle, and which of them a device may run. See
// runtime/backends/tensorrt/cache.py, which writes them.
#pragma once

#include <string>

namespace infdet::detail {

// The GPU in use, its compute capability such as "8.6", and the version of TensorRT such as "10.13.3".
struct EngineDevice {
  std::string gpu, capability, version;
};

struct Engine {
  std::string path, bytes;
  bool version_compatible; // it brings code of its own TensorRT
};

// The newest engine of the stage at `onnx` that this device may run, its hash checked. Throws Error where there is none,
// saying how to build one, or where it was changed.
Engine find_engine(const std::string &onnx, const std::string &precision, const EngineDevice &device);

} // namespace infdet::detail
