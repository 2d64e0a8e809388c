// Whether an ONNX file stores tensors in other files, without a protobuf library.
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

// Whether any tensor of the ONNX model is stored in another file. Throws std::invalid_argument if the bytes are not a
// protobuf message with a graph.
bool has_external_data(Bytes &model);

} // namespace infdet::detail
