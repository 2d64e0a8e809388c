// From snippet scores to detections: runs above a class's threshold, as instances in seconds.
#pragma once

#include <cstddef>
#include <vector>

#include "infdet.h"

namespace infdet::detail {

// What makes a run of snippets a detection; one entry per class, in the classes' order.
struct DetectionRule {
  std::vector<double> thresholds;      // scores strictly above count
  std::vector<double> mean_duration_s; // runs shorter than half of it are dropped
  bool split_long = false;             // cut runs longer than twice the mean into two detections
};

// Consecutive snippets first ... last-1.
struct Run {
  size_t first, last;
};

// What a run becomes, and the snippet whose score counts.
struct Part {
  size_t first, last, at;
};

// The runs of one class's scores above its threshold, in order. scores: float [snippets, classes].
std::vector<Run> runs(const std::vector<float> &scores, size_t classes, size_t index, double threshold);

// The parts of a run: none, one or two.
std::vector<Part> parts(Run run, double mean_s, bool split_long, double snippets_per_second);

// scores: float [snippets, classes]; snippets_per_second: floor(T/8) / clip duration in seconds, finite and positive.
// By class, then time.
std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double snippets_per_second);

// The one class that a whole trimmed clip shows, with its mean score. At least one snippet.
infdet_detection recognise(const std::vector<float> &scores, size_t classes, double duration_s);

} // namespace infdet::detail
