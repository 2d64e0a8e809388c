// Which runs of scores are actions, for live streams: each is decided once and never revised. The rules are those of
// Python's live/decisions.py.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "detections.h"

namespace infdet::detail {

constexpr int64_t kSettleSnippets = 6; // snippets after a run's end before it is final

// A final action: from begin to stop in snippets after the start of the stream, whole numbers for published ends.
struct Decided {
  size_t label;
  double begin, stop;
  double score;
};

class Decisions {
public:
  explicit Decisions(const DetectionRule &rule);

  // The actions that become final with this window, sorted by class, then time.
  // scores: float [snippets, classes] from snippet `first` of the stream. final: the stream has ended.
  std::vector<Decided> decide(const std::vector<float> &scores, int64_t first, double snippets_per_second, bool final);

private:
  // A run of snippets start ... end-1 that is not decided yet, its ends in time, and its highest score in the window.
  struct Undecided {
    int64_t start, end;
    double begin, stop, score;
  };
  struct State {
    std::optional<Undecided> open; // the earliest run that is still open
    int64_t decided = 0;           // runs that end here or earlier are decided
    int64_t given = 0;             // end of the last reported action
    double given_stop = 0;         // in time
  };
  void decide_class(const std::vector<double> &column, size_t label, int64_t first, int64_t closed, double sps,
                    std::vector<Decided> &found);
  std::vector<Undecided> undecided(const std::vector<double> &column, size_t label, int64_t first) const;
  void report(Undecided run, const std::vector<double> &column, size_t label, int64_t first, double sps,
              std::vector<Decided> &found);
  const DetectionRule rule_;
  std::vector<State> states_; // one for each class
};

} // namespace infdet::detail
