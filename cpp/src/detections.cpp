#include "detections.h"

namespace infdet::detail {

std::vector<Run> runs(const std::vector<float> &scores, size_t classes, size_t index, double threshold) {
  std::vector<Run> found;
  const size_t snippets = scores.size() / classes;
  size_t first = 0;
  for (size_t snippet = 0; snippet <= snippets; ++snippet) {
    // compare as double, because thresholds are double
    if (snippet < snippets && static_cast<double>(scores[snippet * classes + index]) > threshold) continue;
    if (snippet > first) found.push_back({first, snippet});
    first = snippet + 1;
  }
  return found;
}

std::vector<Part> parts(Run run, double mean_s, bool split_long, double sps) {
  const auto [first, last] = run;
  double duration_s = static_cast<double>(last - first) / sps;
  if (duration_s < mean_s / 2) return {};
  size_t middle = (first + last) / 2;
  if (!(split_long && duration_s > 2 * mean_s)) return {{first, last, middle}};
  size_t cut = last - static_cast<size_t>(mean_s * sps / 2);
  std::vector<Part> result{{first, cut, middle}};
  if (cut + 1 < last) result.push_back({cut + 1, last, (cut + 1 + last) / 2});
  return result;
}

std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double sps) {
  std::vector<infdet_detection> found;
  for (size_t index = 0; index < classes; ++index)
    for (const Run &run : runs(scores, classes, index, rule.thresholds[index]))
      for (const Part &part : parts(run, rule.mean_duration_s[index], rule.split_long, sps))
        found.push_back({static_cast<double>(part.first) / sps, static_cast<double>(part.last) / sps,
                         scores[part.at * classes + index], static_cast<int32_t>(index), 0});
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
