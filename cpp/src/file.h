// A regular file, read piece by piece.
#pragma once

#include <string>
#include <vector>

#include "onnx_file.h"

namespace infdet::detail {

class File : public Bytes {
public:
  // Throws std::system_error if the file cannot be opened or is a link.
  explicit File(const std::string &path);
  ~File() override;
  File(const File &) = delete;
  File &operator=(const File &) = delete;

  uint64_t size() const override { return size_; }
  uint8_t at(uint64_t index) override;
  // Up to `limit` bytes from the start. Throws std::system_error.
  std::string read(size_t limit);
  std::string sha256();

private:
  size_t read_at(uint64_t offset, void *target, size_t size);
  int descriptor_;
  uint64_t size_ = 0, window_start_ = 0;
  size_t window_size_ = 0;
  std::vector<uint8_t> window_;
};

} // namespace infdet::detail
