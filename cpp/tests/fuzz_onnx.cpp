// Any bytes as an ONNX file: accepted, refused, or no ONNX file, nothing else.
#include <stdexcept>

#include "onnx_file.h"

namespace {

class Memory : public infdet::detail::Bytes {
public:
  Memory(const uint8_t *data, size_t size) : data_(data), size_(size) {}
  uint64_t size() const override { return size_; }
  uint8_t at(uint64_t index) override { return data_[index]; }

private:
  const uint8_t *data_;
  size_t size_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Memory bytes(data, size);
  try {
    infdet::detail::fault(bytes);
  } catch (const std::invalid_argument &) {
  }
  return 0;
}
