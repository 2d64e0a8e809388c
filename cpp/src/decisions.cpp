#include "decisions.h"

#include <algorithm>

namespace infdet::detail {

Decisions::Decisions(const DetectionRule &rule) : rule_(rule), states_(rule.thresholds.size()) {}

std::vector<Decided> Decisions::decide(const std::vector<float> &scores, int64_t first, double sps, bool final) {
  const int64_t snippets = static_cast<int64_t>(scores.size() / states_.size());
  const int64_t closed = first + snippets - (final ? 0 : kSettleSnippets);
  std::vector<Decided> found;
  for (size_t label = 0; label < states_.size(); ++label) decide_class(scores, label, first, closed, sps, found);
  return found;
}

void Decisions::decide_class(const std::vector<float> &scores, size_t label, int64_t first, int64_t closed, double sps,
                             std::vector<Decided> &found) {
  const size_t classes = states_.size();
  State &state = states_[label];
  std::optional<int64_t> still_open;
  for (const Run &run : runs(scores, classes, label, rule_.thresholds[label])) {
    int64_t start = first + static_cast<int64_t>(run.first);
    const int64_t end = first + static_cast<int64_t>(run.last);
    if (end <= state.decided) continue;
    // an open run that now begins with the window keeps its earlier start
    if (run.first == 0 && state.open_start) start = std::min(start, *state.open_start);
    if (end > closed) {
      if (!still_open) still_open = start;
      continue;
    }
    if (start < state.given) { // starts inside a reported action: the same action, unless most of it is later
      if (end - state.given <= state.given - start) continue;
      start = state.given;
    }
    const Run whole{static_cast<size_t>(start), static_cast<size_t>(end)};
    for (const Part &part : parts(whole, rule_.mean_duration_s[label], rule_.split_long, sps)) {
      // the middle of a run longer than two windows is no longer in the window; use its first snippet
      const int64_t at = std::max<int64_t>(static_cast<int64_t>(part.at) - first, 0);
      found.push_back({label, static_cast<int64_t>(part.first), static_cast<int64_t>(part.last),
                       scores[static_cast<size_t>(at) * classes + label]});
      state.given = end;
    }
  }
  state.open_start = still_open;
  state.decided = std::max(state.decided, still_open ? std::min(closed, *still_open) : closed);
}

} // namespace infdet::detail
