// What an ONNX file may contain, found without a protobuf library.
#pragma once

#include <cstdint>
#include <string>

namespace infdet::detail {

// Random access to the bytes of a file or of memory.
class Bytes {
public:
  virtual ~Bytes() = default;
  virtual uint64_t size() const = 0;
  virtual uint8_t at(uint64_t index) = 0; // index < size()
};

// What the ONNX model has that it may not have: tensors in another file, functions, or operators that no export contains;
// empty if nothing. Throws std::invalid_argument if the bytes are not a protobuf message with a graph.
std::string fault(Bytes &model);

} // namespace infdet::detail
