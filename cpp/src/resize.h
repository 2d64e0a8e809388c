// Frames to square network inputs, byte for byte like Python's video/resize.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle.h"

namespace infdet::detail {

constexpr size_t kMaxSide = 32768; // largest side of a frame, pixels

// A sparse weight matrix; the weights of a row are adjacent.
struct Taps {
  size_t count = 0;           // weights per row
  std::vector<size_t> first;  // [target]: the first source pixel of each output pixel
  std::vector<float> weights; // [count, target]
};

// Resizes frames of one size to size x size. Used by one thread at a time.
class Resizer {
public:
  // height, width: 1 to kMaxSide; size: 1 to 4096.
  Resizer(size_t height, size_t width, size_t size, FrameMode mode);

  // frame: [height, width] -> resized: [size, size]. Pixel: uint8_t, or uint16_t for thermal counts.
  template <class Pixel> void apply(const Pixel *frame, Pixel *resized);

private:
  size_t height_, width_, size_;
  bool copies_ = false; // copy the centre without scaling
  size_t top_ = 0, left_ = 0;
  Taps vertical_, horizontal_;
  std::vector<float> row_, levels_;
};

} // namespace infdet::detail
