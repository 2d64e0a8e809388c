#include "window.h"

#include <algorithm>
#include <cmath>

namespace infdet::detail {
namespace {

constexpr double kMostSnippets = 1e12; // more than any memory

// The window's length in snippets, rounded half to even like Python's round.
size_t snippets_in(double window_s, double snippets_per_second, size_t every) {
  const double least = static_cast<double>(kSettleSnippets) + static_cast<double>(every) + 1;
  return static_cast<size_t>(std::clamp(std::nearbyint(window_s * snippets_per_second), least, kMostSnippets));
}

void drop(Features &features, size_t rows) {
  if (!features.rows) return;
  const auto begin = features.values.begin();
  features.values.erase(begin, begin + static_cast<std::ptrdiff_t>(rows * features.width));
  features.rows -= rows;
}

} // namespace

Window::Window(const Model &model, double fps, double window_s, size_t every)
    : model_(model), snippets_per_second_(fps / kFramesPerSnippet), every_(every),
      width_(snippets_in(window_s, snippets_per_second_, every)), decisions_(model.bundle.rule) {}

size_t Window::snippets() const { return first_ + std::max(infrared.rows, flow.rows); }

std::vector<infdet_detection> Window::look() {
  if (snippets() - seen_ < every_) return {};
  if (snippets() > first_ + width_) {
    const size_t rows = snippets() - first_ - width_;
    drop(infrared, rows);
    drop(flow, rows);
    first_ += rows;
  }
  return run(snippets() - first_ + 1, false); // a clip of 8 (k + 1) frames has k features
}

std::vector<infdet_detection> Window::finish(size_t frames) {
  if (snippets() == first_) return {};
  return run(frames / kFramesPerSnippet - first_, true);
}

std::vector<infdet_detection> Window::run(size_t length, bool final) {
  const std::vector<float> scores = model_.scores(infrared, flow, length);
  seen_ = snippets();
  std::vector<infdet_detection> found;
  for (const Decided &one : decisions_.decide(scores, static_cast<int64_t>(first_), snippets_per_second_, final))
    found.push_back({one.begin / snippets_per_second_, one.stop / snippets_per_second_, one.score,
                     static_cast<int32_t>(one.label), 0});
  return found;
}

} // namespace infdet::detail
