// Whether an ONNX file keeps tensors in other files, found without a protobuf library.
#pragma once

#include <cstdint>
#include <string>

namespace infdet::detail {

// Bytes of a file or of memory, read where they are asked for.
class Bytes {
public:
  virtual ~Bytes() = default;
  virtual uint64_t size() const = 0;
  virtual uint8_t at(uint64_t index) = 0; // index < size()
};

// Whether any tensor of the ONNX model lies outside of it. Throws std::invalid_argument where that cannot be told,
// because the bytes are no protobuf message with a graph.
bool has_external_data(Bytes &model);

} // namespace infdet::detail
