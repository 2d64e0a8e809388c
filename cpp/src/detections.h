// Snippet scores to detections: runs above a class's threshold become actions in seconds.
#pragma once

#include <cstddef>
#include <vector>

#include "infdet.h"

namespace infdet::detail {

// Which runs of snippets are detections. One entry for each class.
struct DetectionRule {
  std::vector<double> thresholds;      // a score must be above
  std::vector<double> mean_duration_s; // runs shorter than half are dropped
  bool split_long = false;             // cut runs longer than twice the mean into two detections
};

// Consecutive snippets first ... last-1.
struct Run {
  size_t first, last;
};

// A part of a run, and the snippet whose score it gets.
struct Part {
  size_t first, last, at;
};

// The runs of one class's scores above its threshold, in order. scores: float [snippets, classes].
std::vector<Run> runs(const std::vector<float> &scores, size_t classes, size_t index, double threshold);

// The parts of a run: none, one or two.
std::vector<Part> parts(Run run, double mean_s, bool split_long, double snippets_per_second);

// scores: float [snippets, classes]; snippets_per_second: floor(T/8) / clip duration in seconds, finite and positive.
// Sorted by class, then time.
std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double snippets_per_second);

// The class of a trimmed clip with its mean score. Needs at least one snippet.
infdet_detection recognise(const std::vector<float> &scores, size_t classes, double duration_s);

} // namespace infdet::detail
