#include "decisions.h"

#include <algorithm>

namespace infdet::detail {

Decisions::Decisions(const DetectionRule &rule) : rule_(rule), states_(rule.thresholds.size()) {}

std::vector<Decided> Decisions::decide(const std::vector<float> &scores, int64_t first, double sps, bool final) {
  const size_t classes = states_.size();
  const int64_t snippets = static_cast<int64_t>(scores.size() / classes);
  const int64_t closed = first + snippets - (final ? 0 : kSettleSnippets);
  std::vector<Decided> found;
  for (size_t label = 0; label < classes; ++label)
    decide_class(column_of(scores, classes, label), label, first, closed, sps, found);
  return found;
}

void Decisions::decide_class(const std::vector<double> &column, size_t label, int64_t first, int64_t closed, double sps,
                             std::vector<Decided> &found) {
  State &state = states_[label];
  std::optional<Undecided> still_open;
  for (const Undecided &run : undecided(column, label, first)) {
    if (run.end <= closed)
      report(run, column, label, first, sps, found);
    else if (!still_open)
      still_open = run;
  }
  state.open = still_open;
  state.decided = std::max(state.decided, still_open ? std::min(closed, still_open->start) : closed);
}

std::vector<Decisions::Undecided> Decisions::undecided(const std::vector<double> &column, size_t label,
                                                       int64_t first) const {
  const State &state = states_[label];
  std::vector<Undecided> found;
  for (const Run &run : runs(column, rule_.thresholds[label], rule_.ends)) {
    const int64_t start = static_cast<int64_t>(run.first), end = static_cast<int64_t>(run.last);
    if (first + end <= state.decided) continue;
    const double offset = static_cast<double>(first);
    Undecided one{first + start, first + end, offset + run.begin, offset + run.stop, run.score};
    if (start == 0 && state.open && state.open->start <= one.start) {
      // an open run that now begins with the window keeps its earlier start
      one.start = state.open->start;
      one.begin = state.open->begin;
    }
    found.push_back(one);
  }
  return found;
}

void Decisions::report(Undecided run, const std::vector<double> &column, size_t label, int64_t first, double sps,
                       std::vector<Decided> &found) {
  State &state = states_[label];
  if (run.start < state.given) { // starts inside a reported action: the same action, unless most of it is later
    if (run.end - state.given <= state.given - run.start) return;
    run.start = state.given;
    run.begin = std::max(run.begin, state.given_stop);
  }
  const double mean_s = rule_.mean_duration_s[label];
  const size_t before = found.size();
  if (rule_.ends == Ends::interpolated) {
    if ((run.stop - run.begin) / sps >= mean_s / 2) found.push_back({label, run.begin, run.stop, run.score});
  } else {
    const size_t start = static_cast<size_t>(run.start), end = static_cast<size_t>(run.end);
    for (const Part &part : parts(start, end, mean_s, rule_.split_long, sps)) {
      // the middle of a run longer than two windows is no longer in the window; use its first snippet
      const int64_t at = std::max<int64_t>(static_cast<int64_t>(part.at) - first, 0);
      found.push_back({label, static_cast<double>(part.first), static_cast<double>(part.last),
                       column[static_cast<size_t>(at)]});
    }
  }
  if (found.size() == before) return;
  state.given = run.end;
  state.given_stop = run.stop;
}

} // namespace infdet::detail
