// Snippet scores to detections: runs of high scores become actions in seconds. The rules are those of Python's
// detections.py.
#pragma once

#include <cstddef>
#include <vector>

#include "infdet.h"

namespace infdet::detail {

constexpr size_t kFramesPerSnippet = 8; // the towers' temporal stride

// Which snippets a run has, and where it begins and ends in time. published: consecutive snippets above the threshold;
// snippet j lasts from j to j + 1 snippets after the clip's start. interpolated: the snippets around a score above the
// threshold with more than 0.4 of it; score j belongs to the centre of its 16 frames, and a run ends where the line
// between two scores crosses that level.
enum class Ends { published, interpolated };

// Which runs of snippets are detections. One entry for each class.
struct DetectionRule {
  std::vector<double> thresholds;      // a score must be above
  std::vector<double> mean_duration_s; // runs shorter than half are dropped
  bool split_long = false;             // cut runs longer than twice the mean into two; only with published ends
  Ends ends = Ends::published;

  // The rate of snippets in a clip of `frames` frames: published floor(T/8) / duration, else fps / 8.
  double snippets_per_second(size_t frames, double fps) const;
};

// Snippets first ... last-1; begin and stop in time, in snippets after the clip's start; the highest score.
struct Run {
  size_t first, last;
  double begin, stop, score;
};

// A part of a run, and the snippet whose score it gets.
struct Part {
  size_t first, last, at;
};

// The scores of one class, as double because thresholds are double. scores: float [snippets, classes].
std::vector<double> column_of(const std::vector<float> &scores, size_t classes, size_t index);

// The runs of a class, in order of time.
std::vector<Run> runs(const std::vector<double> &column, double threshold, Ends ends);

// The parts of a published run first ... last-1: none, one or two.
std::vector<Part> parts(size_t first, size_t last, double mean_s, bool split_long, double snippets_per_second);

// scores: float [snippets, classes]; snippets_per_second: of the rule. Sorted by class, then time.
std::vector<infdet_detection> detect(const std::vector<float> &scores, size_t classes, const DetectionRule &rule,
                                     double snippets_per_second);

// The class of a trimmed clip with its mean score. Needs at least one snippet.
infdet_detection recognise(const std::vector<float> &scores, size_t classes, double duration_s);

} // namespace infdet::detail
