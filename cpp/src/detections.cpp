#include "detections.h"

namespace infdet::detail {
namespace {

// What a run of snippets start ... end-1 becomes: none, one or two parts, each with the snippet whose score counts.
struct Part {
  size_t first, last, at;
};

std::vector<Part> parts(size_t start, size_t end, double mean_s, bool split_long, double sps) {
  double duration_s = static_cast<double>(end - start) / sps;
  if (duration_s < mean_s / 2) return {};
  size_t middle = (start + end) / 2;
  if (!(split_long && duration_s > 2 * mean_s)) return {{start, end, middle}};
  size_t cut = end - static_cast<size_t>(mean_s * sps / 2);
  std::vector<Part> result{{start, cut, middle}};
  if (cut + 1 < end) result.push_back({cut + 1, end, (cut + 1 + end) / 2});
  return result;
}

} // namespace

std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double sps) {
  std::vector<infdet_detection> found;
  size_t snippets = scores.size() / classes;
  for (size_t index = 0; index < classes; ++index) {
    // compared as double, so that scores meet the thresholds as they are
    auto score = [&](size_t snippet) { return static_cast<double>(scores[snippet * classes + index]); };
    size_t start = 0;
    for (size_t snippet = 0; snippet <= snippets; ++snippet) {
      if (snippet < snippets && score(snippet) > rule.thresholds[index]) continue;
      if (snippet > start)
        for (const Part &part : parts(start, snippet, rule.mean_duration_s[index], rule.split_long, sps))
          found.push_back({static_cast<double>(part.first) / sps, static_cast<double>(part.last) / sps, score(part.at),
                           static_cast<int32_t>(index), 0});
      start = snippet + 1;
    }
  }
  return found;
}

infdet_detection recognise(const std::vector<float> &scores, size_t classes, double duration_s) {
  size_t snippets = scores.size() / classes;
  infdet_detection best{0, duration_s, -1, 0, 0};
  for (size_t index = 0; index < classes; ++index) {
    double sum = 0;
    for (size_t snippet = 0; snippet < snippets; ++snippet) sum += scores[snippet * classes + index];
    double mean = sum / static_cast<double>(snippets);
    if (mean > best.score) best.score = mean, best.class_index = static_cast<int32_t>(index);
  }
  return best;
}

} // namespace infdet::detail
