// A sliding window over a stream's features, on which the head runs every few snippets.
#pragma once

#include <vector>

#include "decisions.h"
#include "model.h"

namespace infdet::detail {

// Features in, actions out, each once; as Python's live/window.py. Used by one thread at a time.
class Window {
public:
  // window_s: seconds of features that the head sees; every: snippets between two of its runs, 1 or more.
  Window(const Model &model, double fps, double window_s, size_t every);

  Features infrared, flow; // of the window; new ones are appended here, then `look` or `finish` is called

  // The actions that have closed.
  std::vector<infdet_detection> look();

  // The same at the end of a stream of `frames` frames: every run closes.
  std::vector<infdet_detection> finish(size_t frames);

private:
  size_t snippets() const; // of the stream, whose features have come
  std::vector<infdet_detection> run(size_t length, bool final);

  const Model &model_;
  const double snippets_per_second_;
  const size_t every_, width_;
  Decisions decisions_;
  size_t first_ = 0; // features before it are dropped
  size_t seen_ = 0;  // the head saw features up to here
};

} // namespace infdet::detail
