// Both modes are separable, with one small weight matrix per axis:
// 1. resize: shrinking takes the mean over the covered area, enlarging interpolates linearly between pixel centres.
// 2. crop: a frame whose shorter side is below size + 2 is enlarged to size + 2, keeping its aspect ratio. Then the
//    centre is cut out.
// Weights are computed in double and stored as float. Pixels are multiplied and added as float, tap by tap, without fused
// operations (-ffp-contract=off), and rounded half up. numpy works in the same order, so the bytes equal Python's.
#include "resize.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace infdet::detail {
namespace {

constexpr size_t kCropMargin = 2; // 226 for 224

using Row = std::vector<double>; // weights of one output pixel, [source]

// `weights(target pixel, row)` fills a row of zeros.
Taps taps_of(size_t source, size_t from, size_t target, const std::function<void(size_t, Row &)> &weights) {
  std::vector<Row> kept(target);
  Taps taps;
  taps.first.resize(target);
  Row row(source);
  for (size_t pixel = 0; pixel < target; ++pixel) {
    std::fill(row.begin(), row.end(), 0.0);
    weights(from + pixel, row);
    size_t first = 0, last = source - 1;
    while (first < last && !(row[first] > 0)) ++first;
    while (last > first && !(row[last] > 0)) --last;
    taps.first[pixel] = first;
    taps.count = std::max(taps.count, last - first + 1);
    kept[pixel].assign(row.begin() + static_cast<std::ptrdiff_t>(first), row.begin() + static_cast<std::ptrdiff_t>(last + 1));
  }
  taps.weights.assign(taps.count * target, 0.0F);
  for (size_t pixel = 0; pixel < target; ++pixel) {
    // a row with fewer weights at the picture's end begins earlier, padded with zeros
    size_t begin = std::min(taps.first[pixel], source - taps.count), shift = taps.first[pixel] - begin;
    for (size_t tap = 0; tap < kept[pixel].size(); ++tap)
      taps.weights[(tap + shift) * target + pixel] = static_cast<float>(kept[pixel][tap]);
    taps.first[pixel] = begin;
  }
  return taps;
}

Taps area_taps(size_t source, size_t target) {
  double step = static_cast<double>(source) / static_cast<double>(target);
  return taps_of(source, 0, target, [&](size_t pixel, Row &row) {
    double start = static_cast<double>(pixel) * step;
    size_t first = static_cast<size_t>(start), end = std::min(source, static_cast<size_t>(start + step) + 2);
    for (size_t at = first; at < end; ++at) {
      double left = static_cast<double>(at);
      row[at] = std::max(std::min(left + 1, start + step) - std::max(left, start), 0.0) / step;
    }
  });
}

// `target` pixels, starting at pixel `from`, of an axis enlarged by `scale`.
Taps linear_taps(size_t source, size_t from, size_t target, double scale) {
  return taps_of(source, from, target, [&](size_t pixel, Row &row) {
    double centre = (static_cast<double>(pixel) + 0.5) / scale - 0.5;
    centre = std::min(std::max(centre, 0.0), static_cast<double>(source - 1));
    double left = std::floor(centre);
    size_t index = static_cast<size_t>(left);
    row[index] += 1 - (centre - left);
    row[std::min(index + 1, source - 1)] += centre - left;
  });
}

Taps axis_taps(size_t source, size_t target) {
  if (target < source) return area_taps(source, target);
  return linear_taps(source, 0, target, static_cast<double>(target) / static_cast<double>(source));
}

// Start of the centre, rounded half to even like the published preprocessing.
size_t centre_of(size_t length, size_t size) {
  return static_cast<size_t>(std::nearbyint(static_cast<double>(length - size) / 2));
}

} // namespace

Resizer::Resizer(size_t height, size_t width, size_t size, FrameMode mode)
    : height_(height), width_(width), size_(size) {
  size_t shorter = std::min(height, width), needed = size + kCropMargin;
  if (mode == FrameMode::resize) {
    copies_ = height == size && width == size;
    vertical_ = axis_taps(height, size);
    horizontal_ = axis_taps(width, size);
  } else if (shorter >= needed) {
    copies_ = true;
    top_ = centre_of(height, size), left_ = centre_of(width, size);
  } else {
    // The longer side is enlarged by the same factor, and its length is rounded.
    double scale = static_cast<double>(needed) / static_cast<double>(shorter);
    auto enlarged = [&](size_t length) {
      return static_cast<size_t>(std::nearbyint(static_cast<double>(length * needed) / static_cast<double>(shorter)));
    };
    vertical_ = linear_taps(height, centre_of(enlarged(height), size), size, scale);
    horizontal_ = linear_taps(width, centre_of(enlarged(width), size), size, scale);
  }
  if (!copies_) row_.resize(width), levels_.resize(size);
}

template <class Pixel> void Resizer::apply(const Pixel *frame, Pixel *resized) {
  constexpr float top = std::numeric_limits<Pixel>::max();
  if (copies_) {
    for (size_t y = 0; y < size_; ++y)
      std::copy_n(frame + (top_ + y) * width_ + left_, size_, resized + y * size_);
    return;
  }
  for (size_t y = 0; y < size_; ++y) {
    for (size_t tap = 0; tap < vertical_.count; ++tap) {
      const Pixel *pixels = frame + (vertical_.first[y] + tap) * width_;
      float weight = vertical_.weights[tap * size_ + y];
      if (!tap)
        for (size_t x = 0; x < width_; ++x) row_[x] = static_cast<float>(pixels[x]) * weight;
      else
        for (size_t x = 0; x < width_; ++x) row_[x] += static_cast<float>(pixels[x]) * weight;
    }
    for (size_t tap = 0; tap < horizontal_.count; ++tap) {
      const float *weights = horizontal_.weights.data() + tap * size_;
      for (size_t x = 0; x < size_; ++x) {
        float part = row_[horizontal_.first[x] + tap] * weights[x];
        levels_[x] = tap ? levels_[x] + part : part;
      }
    }
    for (size_t x = 0; x < size_; ++x) resized[y * size_ + x] = static_cast<Pixel>(std::min(levels_[x] + 0.5F, top));
  }
}

template void Resizer::apply(const uint8_t *, uint8_t *);
template void Resizer::apply(const uint16_t *, uint16_t *);

} // namespace infdet::detail
