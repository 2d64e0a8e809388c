// Which runs of scores are actions, for live streams: each is decided once and never revised. The rules are those of
// Python's live/decisions.py.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "detections.h"

namespace infdet::detail {

constexpr int64_t kSettleSnippets = 6; // snippets after a run's end before it is final

// A final action: snippets first ... last-1, counted from the start of the stream.
struct Decided {
  size_t label;
  int64_t first, last;
  double score;
};

class Decisions {
public:
  explicit Decisions(const DetectionRule &rule);

  // The actions that become final with this window, sorted by class, then time.
  // scores: float [snippets, classes] from snippet `first` of the stream. final: the stream has ended.
  std::vector<Decided> decide(const std::vector<float> &scores, int64_t first, double snippets_per_second, bool final);

private:
  struct State {
    std::optional<int64_t> open_start; // start of the earliest open run
    int64_t decided = 0;               // runs that end here or earlier are decided
    int64_t given = 0;                 // end of the last reported action
  };
  void decide_class(const std::vector<float> &scores, size_t label, int64_t first, int64_t closed, double sps,
                    std::vector<Decided> &found);
  const DetectionRule rule_;
  std::vector<State> states_; // one for each class
};

} // namespace infdet::detail
