// A sliding window over a stream's features. The head runs on it every few snippets.
#pragma once

#include <vector>

#include "decisions.h"
#include "model.h"

namespace infdet::detail {

// Features in, final actions out, each once. Like Python's live/window.py. Used by one thread at a time.
class Window {
public:
  // window_s: seconds of features that the head sees. every: snippets between two runs of the head, 1 or more.
  Window(const Model &model, double fps, double window_s, size_t every);

  Features infrared, flow; // of the window: append new ones here, then call `look` or `finish`

  // Run the head if enough snippets have arrived. Returns the actions that became final.
  std::vector<infdet_detection> look();

  // End of a stream of `frames` frames: all open actions become final.
  std::vector<infdet_detection> finish(size_t frames);

private:
  size_t snippets() const; // of the stream with features
  std::vector<infdet_detection> run(size_t length, bool final);

  const Model &model_;
  const double snippets_per_second_;
  const size_t every_, width_;
  Decisions decisions_;
  size_t first_ = 0; // features before this one were dropped
  size_t seen_ = 0;  // features that the head has seen
};

} // namespace infdet::detail
