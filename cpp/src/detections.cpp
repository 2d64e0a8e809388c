#include "detections.h"

#include <algorithm>

namespace infdet::detail {

double DetectionRule::snippets_per_second(size_t frames, double fps) const {
  if (ends == Ends::interpolated) return fps / kFramesPerSnippet;
  return static_cast<double>(frames / kFramesPerSnippet) / (static_cast<double>(frames) / fps);
}

std::vector<double> column_of(const std::vector<float> &scores, size_t classes, size_t index) {
  std::vector<double> column;
  column.reserve(scores.size() / classes);
  for (size_t at = index; at < scores.size(); at += classes) column.push_back(static_cast<double>(scores[at]));
  return column;
}

namespace {

constexpr double kEndShare = 0.4; // of a run's highest score, where it begins and ends

std::vector<Run> published_runs(const std::vector<double> &column, double threshold) {
  std::vector<Run> found;
  size_t first = 0;
  for (size_t snippet = 0; snippet <= column.size(); ++snippet) {
    if (snippet < column.size() && column[snippet] > threshold) continue;
    if (snippet > first) {
      const auto begin = column.begin();
      const double highest = *std::max_element(begin + static_cast<std::ptrdiff_t>(first),
                                               begin + static_cast<std::ptrdiff_t>(snippet));
      found.push_back({first, snippet, static_cast<double>(first), static_cast<double>(snippet), highest});
    }
    first = snippet + 1;
  }
  return found;
}

// Where the line through the scores crosses the level at both ends of a run; one at either end of the clip reaches to
// that end. Score j belongs to position j + 1.
void set_crossings(const std::vector<double> &column, double level, Run &run) {
  run.begin = 0;
  run.stop = static_cast<double>(column.size() + 1);
  if (run.first > 0) {
    const double inside = column[run.first], outside = column[run.first - 1];
    run.begin = static_cast<double>(run.first + 1) - (inside - level) / (inside - outside);
  }
  if (run.last < column.size()) {
    const double inside = column[run.last - 1], outside = column[run.last];
    run.stop = static_cast<double>(run.last) + (inside - level) / (inside - outside);
  }
}

std::vector<Run> interpolated_runs(const std::vector<double> &column, double threshold) {
  std::vector<Run> found;
  for (size_t peak = 0; peak < column.size(); ++peak) {
    const double highest = column[peak], level = kEndShare * highest;
    if (!(highest > threshold)) continue;
    Run run{peak, peak + 1, 0, 0, highest};
    while (run.first > 0 && level < column[run.first - 1] && column[run.first - 1] < highest) --run.first;
    while (run.last < column.size() && level < column[run.last] && column[run.last] <= highest) ++run.last;
    const double before = run.first > 0 ? column[run.first - 1] : 0;
    const double after = run.last < column.size() ? column[run.last] : 0;
    if (before > level || after > level) continue; // a higher score belongs to the same run
    set_crossings(column, level, run);
    found.push_back(run);
  }
  return found;
}

} // namespace

std::vector<Run> runs(const std::vector<double> &column, double threshold, Ends ends) {
  return ends == Ends::interpolated ? interpolated_runs(column, threshold) : published_runs(column, threshold);
}

std::vector<Part> parts(size_t first, size_t last, double mean_s, bool split_long, double sps) {
  double duration_s = static_cast<double>(last - first) / sps;
  if (duration_s < mean_s / 2) return {};
  size_t middle = (first + last) / 2;
  if (!(split_long && duration_s > 2 * mean_s)) return {{first, last, middle}};
  size_t cut = last - static_cast<size_t>(mean_s * sps / 2);
  std::vector<Part> result{{first, cut, middle}};
  if (cut + 1 < last) result.push_back({cut + 1, last, (cut + 1 + last) / 2});
  return result;
}

namespace {

// The detections of one run of a class: none, one or two.
std::vector<infdet_detection> of_run(const std::vector<double> &column, const Run &run, size_t index, const DetectionRule &rule,
                                     double sps) {
  const double mean_s = rule.mean_duration_s[index];
  const int32_t label = static_cast<int32_t>(index);
  if (rule.ends == Ends::interpolated) {
    if ((run.stop - run.begin) / sps < mean_s / 2) return {};
    return {{run.begin / sps, run.stop / sps, run.score, label, 0}};
  }
  std::vector<infdet_detection> found;
  for (const Part &part : parts(run.first, run.last, mean_s, rule.split_long, sps))
    found.push_back({static_cast<double>(part.first) / sps, static_cast<double>(part.last) / sps, column[part.at],
                     label, 0});
  return found;
}

} // namespace

std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double sps) {
  std::vector<infdet_detection> found;
  for (size_t index = 0; index < classes; ++index) {
    const std::vector<double> column = column_of(scores, classes, index);
    for (const Run &run : runs(column, rule.thresholds[index], rule.ends))
      for (const infdet_detection &one : of_run(column, run, index, rule, sps)) found.push_back(one);
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
