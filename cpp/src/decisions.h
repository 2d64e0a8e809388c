// Which runs of scores count as actions, and when: each is decided once and never again, by the rules that Python's
// live/decisions.py tells.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "detections.h"

namespace infdet::detail {

constexpr int64_t kSettleSnippets = 6; // that must lie after a run's end

// An action, decided: snippets first ... last-1, counted from the stream's first.
struct Decided {
  size_t label;
  int64_t first, last;
  double score;
};

class Decisions {
public:
  explicit Decisions(const DetectionRule &rule);

  // The actions that the newest window closes, by class, then time.
  // scores: float [snippets, classes], of the stream's snippets first ...; final: no more will come.
  std::vector<Decided> decide(const std::vector<float> &scores, int64_t first, double snippets_per_second, bool final);

private:
  struct State {
    std::optional<int64_t> open_start; // of the earliest run that is still open
    int64_t decided = 0;               // all runs that end here or before are
    int64_t given = 0;                 // where the last action given ends
  };
  void decide_class(const std::vector<float> &scores, size_t label, int64_t first, int64_t closed, double sps,
                    std::vector<Decided> &found);
  const DetectionRule rule_;
  std::vector<State> states_; // one a class
};

} // namespace infdet::detail
