// The one rule by which a frame becomes a square network input, byte for byte as Python's video/resize.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle.h"

namespace infdet::detail {

constexpr size_t kMaxSide = 32768; // of a frame that comes in, pixels

// A weight matrix of which every row has its few weights side by side.
struct Taps {
  size_t count = 0;           // weights a row
  std::vector<size_t> first;  // [target]: the first source pixel of each output pixel
  std::vector<float> weights; // [count, target]
};

// Brings frames of one size to size x size. An object is used by one thread at a time.
class Resizer {
public:
  // height, width: 1 to kMaxSide; size: 1 to 4096.
  Resizer(size_t height, size_t width, size_t size, FrameMode mode);

  // frame: uint8 [height, width] -> resized: uint8 [size, size].
  void apply(const uint8_t *frame, uint8_t *resized);

private:
  size_t height_, width_, size_;
  bool copies_ = false; // the centre as it is
  size_t top_ = 0, left_ = 0;
  Taps vertical_, horizontal_;
  std::vector<float> row_, levels_;
};

} // namespace infdet::detail
