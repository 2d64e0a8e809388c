// The whole library with the backend double: detections, misuse, threads, opening and closing.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>
#include <unistd.h>

#include "backend_double.h"
#include "check.h"
#include "error.h"
#include "infdet.hpp"

namespace {

using infdet::test::kSide;
using Frames = std::vector<uint8_t>;
using Found = std::vector<infdet_detection>;

constexpr double kFps = 25;
#ifdef INFDET_SANITIZED
constexpr int kCycles = 300;
#else
constexpr int kCycles = 10000;
#endif

std::string folder; // contains this run's bundles

std::string bundle() { return folder + "/double.infdet"; }

// Frames uint8 [count, kSide, kSide] of varying brightness; `seed` shifts it.
Frames clip(size_t count, size_t seed = 0) {
  Frames frames;
  for (size_t t = 0; t < count; ++t)
    for (int i = 0; i < kSide * kSide; ++i)
      frames.push_back(static_cast<uint8_t>(127 + 100 * std::sin(0.05 * static_cast<double>(t + 17 * seed) + i % 4)));
  return frames;
}

infdet_options options(const char *backend = "double", bool live = false) {
  infdet_options given = infdet_default_options();
  given.backend = backend;
  given.live = live;
  return given;
}

infdet_model *opened(bool live = false, const char *backend = "double", const char *name = "double") {
  const infdet_options given = options(backend, live);
  infdet_model *model = nullptr;
  CHECK(infdet_open((folder + "/" + name + ".infdet").c_str(), &given, &model) == INFDET_OK);
  return model;
}

Found detected(const infdet_model *model, const Frames &frames) {
  infdet_detection *found = nullptr;
  size_t count = 0;
  CHECK(infdet_detect(model, frames.data(), frames.size() / (kSide * kSide), kSide, kSide, kFps, &found, &count) == INFDET_OK);
  Found result(found, found + count);
  CHECK(infdet_free_detections(found) == INFDET_OK);
  return result;
}

// Detections of a stream, with `at_once` frames per push.
Found streamed(infdet_stream *stream, const Frames &frames, size_t at_once) {
  const size_t total = frames.size() / (kSide * kSide);
  Found found;
  infdet_detection one;
  auto poll = [&] {
    while (infdet_poll(stream, &one) == INFDET_OK) found.push_back(one);
  };
  for (size_t at = 0; at < total; at += at_once) {
    CHECK(infdet_push(stream, frames.data() + at * kSide * kSide, std::min(at_once, total - at), kSide, kSide) == INFDET_OK);
    poll();
  }
  CHECK(infdet_flush(stream) == INFDET_OK);
  poll();
  CHECK(infdet_close_stream(stream) == INFDET_OK);
  return found;
}

infdet_stream *clip_stream(const infdet_model *model) {
  infdet_stream *stream = nullptr;
  CHECK(infdet_open_stream(model, kFps, &stream) == INFDET_OK);
  return stream;
}

infdet_stream *live_stream(const infdet_model *model, double window_s) {
  infdet_stream *stream = nullptr;
  CHECK(infdet_open_live(model, kFps, window_s, INFDET_EVERY_SNIPPETS, &stream) == INFDET_OK);
  return stream;
}

bool same(const Found &ours, const Found &theirs) {
  if (ours.size() != theirs.size()) return false;
  for (size_t i = 0; i < ours.size(); ++i)
    if (std::memcmp(&ours[i], &theirs[i], sizeof ours[i])) return false;
  return true;
}

void test_whole_clips_and_streams() {
  infdet_model *model = opened();
  for (size_t count : {16, 23, 100, 371, 372, 401, 900}) {
    const Frames frames = clip(count);
    const Found whole = detected(model, frames);
    CHECK(count < 200 || whole.size() > 4);
    CHECK(same(streamed(clip_stream(model), frames, 7), whole));
  }
  CHECK(infdet_close(model) == INFDET_OK);
}

// The double's scores depend only on their own 16 frames, so a window changes only when and in which order detections
// are reported. Frame counts are multiples of 8, so that both measure time in the same way.
void test_live_streams_match_clips() {
  infdet_model *whole = opened(), *live = opened(true);
  for (size_t count : {24, 104, 400, 904}) {
    const Frames frames = clip(count);
    const Found reference = detected(whole, frames);
    for (double window_s : {6.0, 120.0})
      for (size_t at_once : {1, 8, 50, 1000}) {
        Found found = streamed(live_stream(live, window_s), frames, at_once);
        std::sort(found.begin(), found.end(), [](const infdet_detection &a, const infdet_detection &b) {
          return std::tie(a.class_index, a.start_s) < std::tie(b.class_index, b.start_s);
        });
        CHECK(found.size() == reference.size());
        for (size_t i = 0; i < found.size(); ++i) {
          CHECK(found[i].class_index == reference[i].class_index && found[i].score == reference[i].score);
          CHECK(std::abs(found[i].start_s - reference[i].start_s) < 1e-9);
          CHECK(std::abs(found[i].end_s - reference[i].end_s) < 1e-9);
        }
      }
  }
  infdet_close(whole);
  infdet_close(live);
}

void expect(infdet_status status, infdet_status expected, const char *text) {
  if (status != expected || !std::strstr(infdet_last_error(), text)) {
    std::fprintf(stderr, "status %d, expected %d; '%s' has no '%s'\n", status, expected, infdet_last_error(), text);
    std::exit(1);
  }
  CHECK(!std::strchr(infdet_last_error(), '\n'));
}

void test_misuse() {
  infdet_model *model = opened(), *live = opened(true), *none = nullptr;
  infdet_stream *stream = nullptr;
  infdet_detection one, *found = nullptr;
  size_t count = 0;
  const Frames frames = clip(32);
  infdet_options given = options();
  expect(infdet_open(nullptr, &given, &none), INFDET_ERROR_ARGUMENT, "bundle is null");
  expect(infdet_open(bundle().c_str(), &given, nullptr), INFDET_ERROR_ARGUMENT, "model is null");
  expect(infdet_open("", &given, &none), INFDET_ERROR_BUNDLE, "no such bundle");
  expect(infdet_init_options(nullptr, 8), INFDET_ERROR_ARGUMENT, "options is null");
  expect(infdet_init_options(&given, 3), INFDET_ERROR_ARGUMENT, "struct_size");
  for (double fps : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    expect(infdet_detect(model, frames.data(), 32, kSide, kSide, fps, &found, &count), INFDET_ERROR_ARGUMENT, "fps is");
    expect(infdet_open_stream(model, fps, &stream), INFDET_ERROR_ARGUMENT, "fps is");
    expect(infdet_open_live(live, fps, 10, 4, &stream), INFDET_ERROR_ARGUMENT, "fps is");
    expect(infdet_open_live(live, kFps, fps, 4, &stream), INFDET_ERROR_ARGUMENT, "window_s is");
  }
  expect(infdet_open_live(live, kFps, 10, 0, &stream), INFDET_ERROR_ARGUMENT, "every_snippets is 0");
  expect(infdet_open_live(live, kFps, 10, 4, nullptr), INFDET_ERROR_ARGUMENT, "stream is null");
  expect(infdet_open_live(model, kFps, 10, 4, &stream), INFDET_ERROR_ARGUMENT, "opened for clips");
  expect(infdet_open_stream(live, kFps, &stream), INFDET_ERROR_ARGUMENT, "opened for live streams");
  expect(infdet_detect(live, frames.data(), 32, kSide, kSide, kFps, &found, &count), INFDET_ERROR_ARGUMENT, "live");
  given.live = 2;
  expect(infdet_open(bundle().c_str(), &given, &none), INFDET_ERROR_ARGUMENT, "options.live is 2");
  expect(infdet_detect(model, frames.data(), 15, kSide, kSide, kFps, &found, &count), INFDET_ERROR_FRAMES, "15 frames");
  expect(infdet_detect(model, frames.data(), 32, 0, kSide, kFps, &found, &count), INFDET_ERROR_ARGUMENT, "pixels");
  expect(infdet_detect(model, frames.data(), SIZE_MAX / 2, kSide, kSide, kFps, &found, &count), INFDET_ERROR_ARGUMENT, "memory");
  for (bool alive : {false, true}) {
    stream = alive ? live_stream(live, 10) : clip_stream(model);
    expect(infdet_push(stream, nullptr, 1, kSide, kSide), INFDET_ERROR_ARGUMENT, "frames is null");
    CHECK(infdet_push(stream, frames.data(), 20, kSide, kSide) == INFDET_OK);
    expect(infdet_push(stream, frames.data(), 1, kSide, 16), INFDET_ERROR_FRAMES, "a frame is 16x32");
    expect(infdet_poll(stream, nullptr), INFDET_ERROR_ARGUMENT, "detection is null");
    CHECK(infdet_poll(stream, &one) == INFDET_NOTHING);
    CHECK(infdet_flush(stream) == INFDET_OK);
    expect(infdet_push(stream, frames.data(), 1, kSide, kSide), INFDET_ERROR_STATE, "was flushed");
    expect(infdet_flush(stream), INFDET_ERROR_STATE, "was flushed");
    CHECK(infdet_close_stream(stream) == INFDET_OK);
    expect(infdet_close_stream(stream), INFDET_ERROR_HANDLE, "stream is closed");
    expect(infdet_push(stream, frames.data(), 1, kSide, kSide), INFDET_ERROR_HANDLE, "stream is closed");
    expect(infdet_flush(reinterpret_cast<infdet_stream *>(model)), INFDET_ERROR_HANDLE, "stream is closed");
  }
  CHECK(infdet_close(live) == INFDET_OK && infdet_close(model) == INFDET_OK);
  expect(infdet_close(model), INFDET_ERROR_HANDLE, "model is closed");
  expect(infdet_open_live(live, kFps, 10, 4, &stream), INFDET_ERROR_HANDLE, "model is closed");
  CHECK(!infdet_class_name(model, 0));
  expect(infdet_free_detections(&one), INFDET_ERROR_ARGUMENT, "was freed before");
  CHECK(!none && !found && !count);
}

// Counts of a room in which nearly half of the pixels grow warm from time to time, uint16 [count, kSide, kSide].
std::vector<uint16_t> counts(size_t count) {
  std::vector<uint16_t> frames;
  for (size_t t = 0; t < count; ++t)
    for (int i = 0; i < kSide * kSide; ++i)
      frames.push_back(static_cast<uint16_t>(
          29000 + i % 97 + (i % 100 < 45 ? std::max(0.0, 500 * std::sin(0.2 * static_cast<double>(t))) : 0)));
  return frames;
}

// Detections of a stream of counts at uneven times, with `at_once` frames per push.
Found measured(infdet_stream *stream, const std::vector<uint16_t> &frames, const std::vector<double> &times_s,
               size_t at_once) {
  for (size_t at = 0; at < times_s.size(); at += at_once)
    CHECK(infdet_push16(stream, frames.data() + at * kSide * kSide, std::min(at_once, times_s.size() - at), kSide, kSide,
                        times_s.data() + at) == INFDET_OK);
  CHECK(infdet_flush(stream) == INFDET_OK);
  Found found;
  for (infdet_detection one; infdet_poll(stream, &one) == INFDET_OK;) found.push_back(one);
  CHECK(infdet_close_stream(stream) == INFDET_OK);
  return found;
}

void test_counts_and_times() {
  infdet_model *model = opened(false, "double", "background"), *live = opened(true, "double", "background");
  const std::vector<uint16_t> frames = counts(600);
  std::vector<double> times_s;
  for (int t = 0; t < 600; ++t) times_s.push_back(1000 + 0.25 * t + 0.1 * (t % 3)); // 150 s: longer than frames are held
  const Found whole = measured(clip_stream(model), frames, times_s, 600);
  CHECK(whole.size() > 4 && whole.back().end_s < 151 && whole[1].start_s != std::floor(whole[1].start_s * 9 / 8) * 8 / 9);
  CHECK(same(measured(clip_stream(model), frames, times_s, 7), whole));
  const Found events = measured(live_stream(live, 20), frames, times_s, 600);
  CHECK(events.size() > 4 && same(measured(live_stream(live, 20), frames, times_s, 1), events));

  infdet_stream *stream = clip_stream(model);
  const double odd[] = {0, NAN, 1, 0.5, 1e9};
  const Frames grey = clip(4);
  expect(infdet_push16(stream, nullptr, 1, kSide, kSide, odd), INFDET_ERROR_ARGUMENT, "frames is null");
  expect(infdet_push_timed(stream, grey.data(), 1, kSide, kSide, nullptr), INFDET_ERROR_ARGUMENT, "times_s is null");
  expect(infdet_push16(stream, frames.data(), 2, kSide, kSide, odd), INFDET_ERROR_ARGUMENT, "times_s[1] is nan");
  expect(infdet_push16(stream, frames.data(), 2, kSide, kSide, odd + 2), INFDET_ERROR_ARGUMENT, "do not decrease");
  expect(infdet_push16(stream, frames.data(), 2, kSide, kSide, odd + 3), INFDET_ERROR_ARGUMENT, "open another one");
  expect(infdet_push16(stream, frames.data(), SIZE_MAX / 1500, kSide, kSide, nullptr), INFDET_ERROR_ARGUMENT, "memory");
  CHECK(infdet_push16(stream, frames.data(), 5, kSide, kSide, nullptr) == INFDET_OK);
  expect(infdet_push(stream, grey.data(), 4, kSide, kSide), INFDET_ERROR_FRAMES, "8 bits, earlier frames have 16");
  expect(infdet_push16(stream, frames.data(), 1, kSide, kSide, odd), INFDET_ERROR_FRAMES, "earlier frames have none");
  expect(infdet_flush(stream), INFDET_ERROR_FRAMES, "clip has 2 frames"); // at 9 frames a second
  expect(infdet_flush(stream), INFDET_ERROR_STATE, "failed before"); // the held frames are gone
  CHECK(infdet_close_stream(stream) == INFDET_OK && infdet_close(model) == INFDET_OK && infdet_close(live) == INFDET_OK);
  stream = clip_stream(model = opened());
  expect(infdet_push16(stream, frames.data(), 1, kSide, kSide, nullptr), INFDET_ERROR_ARGUMENT, "8 bits first");
  CHECK(infdet_push_timed(stream, grey.data(), 1, kSide, kSide, odd) == INFDET_OK);
  CHECK(infdet_close_stream(stream) == INFDET_OK && infdet_close(model) == INFDET_OK);
}

void test_damaged_bundles() {
  const std::string path = folder + "/damaged.infdet";
  infdet::test::write_bundle(path);
  const infdet_options given = options();
  infdet_model *model = nullptr;
  auto open = [&] { return infdet_open(path.c_str(), &given, &model); };
  infdet::test::write_manifest(path, R"("format": 9, "name": "x"})");
  expect(open(), INFDET_ERROR_BUNDLE, "has format 9, this version reads up to 2");
  infdet::test::write_manifest(path, R"("format": 2, "name": "x"})");
  expect(open(), INFDET_ERROR_BUNDLE, "'model' is missing");
  std::ofstream(path + "/manifest.json") << "{\"sha256\": 0}";
  expect(open(), INFDET_ERROR_BUNDLE, "no format number");
  std::filesystem::remove_all(path);
  infdet::test::write_bundle(path);
  std::ofstream(path + "/head.float32.onnx") << "changed";
  expect(open(), INFDET_ERROR_BUNDLE, "'head.float32.onnx' was changed since it was exported");
  std::filesystem::remove(path + "/head.float32.onnx");
  expect(open(), INFDET_ERROR_BUNDLE, "'head.float32.onnx' is missing");
  CHECK(!model);
}

// An exception of a backend becomes a status, and the stream accepts no more frames.
void test_faults_of_a_backend() {
  const std::vector<std::tuple<const char *, infdet_status, const char *>> faults = {
      {"double-throws", INFDET_ERROR_BACKEND, "double-throws float32 failed in "},
      {"double-odd", INFDET_ERROR_INTERNAL, "unknown failure"},
      {"double-memory", INFDET_ERROR_MEMORY, "out of memory"},
      {"double-nan", INFDET_ERROR_BACKEND, "scores that are not numbers"},
      {"double-short", INFDET_ERROR_BACKEND, "gave features"}};
  const Frames frames = clip(64);
  for (const auto &[backend, status, text] : faults) {
    infdet_model *model = opened(false, backend);
    infdet_detection *found = nullptr;
    size_t count = 0;
    expect(infdet_detect(model, frames.data(), 64, kSide, kSide, kFps, &found, &count), status, text);
    CHECK(!found);
    infdet_stream *stream = clip_stream(model);
    CHECK(infdet_push(stream, frames.data(), 64, kSide, kSide) == INFDET_OK);
    expect(infdet_flush(stream), status, text);
    expect(infdet_push(stream, frames.data(), 1, kSide, kSide), INFDET_ERROR_STATE, "failed before");
    CHECK(infdet_close_stream(stream) == INFDET_OK && infdet_close(model) == INFDET_OK);
  }
}

void test_eight_threads_share_a_model() {
  infdet_model *whole = opened(), *live = opened(true);
  std::vector<Found> serial, parallel(8);
  auto work = [&](size_t index) {
    const Frames frames = clip(300 + 8 * index, index);
    return streamed(index % 2 ? live_stream(live, 3) : clip_stream(whole), frames, 5 + index);
  };
  for (size_t i = 0; i < 8; ++i) serial.push_back(work(i));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 8; ++i) threads.emplace_back([&, i] { parallel[i] = work(i); });
  for (std::thread &thread : threads) thread.join();
  for (size_t i = 0; i < 8; ++i) CHECK(same(parallel[i], serial[i]) && !serial[i].empty());
  // many threads use one stream and one model: each call returns a status, in any order
  infdet_stream *stream = live_stream(live, 3);
  std::vector<std::thread> users;
  for (int i = 0; i < 8; ++i)
    users.emplace_back([&, i] {
      const Frames frames = clip(16);
      infdet_detection one;
      for (int round = 0; round < 20; ++round) {
        infdet_push(stream, frames.data(), 16, kSide, kSide);
        infdet_poll(stream, &one);
        if (i == 3 && round == 10) infdet_close(live);
        if (i == 5 && round == 15) infdet_flush(stream);
        if (i == 7 && round == 18) infdet_close_stream(stream);
      }
    });
  for (std::thread &user : users) user.join();
  expect(infdet_flush(stream), INFDET_ERROR_HANDLE, "stream is closed");
  CHECK(infdet_close(whole) == INFDET_OK);
}

// Resident memory of this process, in kilobytes.
long resident_kb() {
  long total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE) / 1024;
}

void test_opening_and_closing_does_not_grow() {
  const Frames frames = clip(40);
  long begin = 0;
  for (int i = 0; i < kCycles; ++i) {
    infdet_model *model = opened(i % 2);
    infdet_stream *stream = i % 2 ? live_stream(model, 10) : clip_stream(model);
    if (i % 50 < 2) infdet_push(stream, frames.data(), 40, kSide, kSide);
    CHECK(infdet_close(model) == INFDET_OK && infdet_close_stream(stream) == INFDET_OK);
    if (i == kCycles / 10) begin = resident_kb();
  }
  const long grown = resident_kb() - begin;
  std::printf("opened and closed %d times: %ld kB more\n", kCycles, grown);
#ifndef INFDET_SANITIZED // sanitizers keep freed memory
  CHECK(grown < 512);
#endif
}

void test_cpp_wrapper() {
  infdet::Model model(bundle(), options());
  CHECK(model.info().size == kSide && model.info().class_count == 2 && model.class_name(1) == "fall");
  const Frames frames = clip(400);
  const auto whole = model.detect(frames.data(), 400, kSide, kSide, kFps);
  infdet::Stream first(model, kFps);
  first.push(frames.data(), 100, kSide, kSide);
  infdet::Stream stream = std::move(first);
  stream.push(frames.data() + 100 * kSide * kSide, 300, kSide, kSide);
  CHECK(!stream.poll());
  stream.flush();
  for (const infdet::Detection &one : whole) {
    auto found = stream.poll();
    CHECK(found && found->label == one.label && found->start_s == one.start_s && found->score == one.score);
  }
  CHECK(!stream.poll() && whole.size() > 4);
  infdet::Model live(bundle(), options("double", true));
  infdet::Stream camera = infdet::Stream::live(live, kFps);
  size_t events = 0, early = 0;
  for (int t = 0; t < 400; ++t) {
    camera.push(frames.data() + t * kSide * kSide, 1, kSide, kSide);
    while (camera.poll()) ++early;
  }
  camera.flush();
  while (camera.poll()) ++events;
  CHECK(early > 2 && early + events == whole.size());
  // A stream outlives the moves of its Model object, and the object itself.
  std::vector<infdet::Model> models;
  std::vector<infdet::Stream> streams;
  for (int i = 0; i < 3; ++i) {
    models.emplace_back(bundle(), options());
    streams.emplace_back(models.back(), kFps);
  }
  models.clear();
  for (infdet::Stream &one : streams) {
    one.push(frames.data(), 400, kSide, kSide);
    one.flush();
    for (const infdet::Detection &expected : whole) {
      auto found = one.poll();
      CHECK(found && found->label == expected.label);
    }
  }
  try {
    infdet::Model none(folder + "/none.infdet", options());
    CHECK(false);
  } catch (const infdet::Error &error) {
    CHECK(error.status() == INFDET_ERROR_BUNDLE && std::strstr(error.what(), "no such bundle"));
  }
}

// Stops at the third call; counts them.
int32_t stop_third(void *context, size_t snippets) {
  int &calls = *static_cast<int *>(context);
  CHECK(snippets > 0);
  return ++calls == 3;
}

void test_what_embedders_need() {
  CHECK(std::string(infdet_status_name(INFDET_ERROR_FRAMES)) == "INFDET_ERROR_FRAMES");
  CHECK(std::string(infdet_status_name(static_cast<infdet_status>(99))) == "unknown status");
  infdet_options given = options();
  const double wrong[] = {0.2, 1.5}, high[] = {0.999, 0.999};
  given.thresholds = wrong, given.threshold_count = 2;
  infdet_model *none = nullptr;
  CHECK(infdet_open(bundle().c_str(), &given, &none) == INFDET_ERROR_ARGUMENT && !none);
  given.threshold_count = 1;
  CHECK(infdet_open(bundle().c_str(), &given, &none) == INFDET_ERROR_ARGUMENT);
  CHECK(std::strstr(infdet_last_error(), "1 thresholds for 2 classes"));
  given.threshold_count = 0;
  CHECK(infdet_open(bundle().c_str(), &given, &none) == INFDET_ERROR_ARGUMENT);
  CHECK(std::strstr(infdet_last_error(), "threshold_count is 0"));
  given.thresholds = high, given.threshold_count = 2;
  const infdet::Model strict(bundle(), given), model(bundle(), options());
  CHECK(strict.threshold(1) == 0.999 && model.threshold(1) < 0.999);
  const Frames frames = clip(400);
  CHECK(strict.detect(frames.data(), 400, kSide, kSide, kFps).size() < model.detect(frames.data(), 400, kSide, kSide, kFps).size());
  const infdet_info info = model.info();
  CHECK(info.name && info.fps >= 0 && info.frame_rate == 0 && info.counts == 0);

  // Rows that lie apart, one frame after the other, equal a packed clip.
  infdet::Stream packed(model, kFps), strided(model, kFps);
  packed.push(frames.data(), 400, kSide, kSide);
  Frames row(static_cast<size_t>(kSide + 7) * kSide);
  for (size_t t = 0; t < 400; ++t) {
    for (size_t y = 0; y < kSide; ++y)
      std::copy_n(frames.data() + (t * kSide + y) * kSide, kSide, row.data() + y * (kSide + 7));
    infdet_frame frame{sizeof frame, row.data(), 8, kSide, kSide, kSide + 7, std::nan("")};
    strided.push(frame);
    if (t) continue;
    frame.row_bytes = kSide - 1;
    try {
      strided.push(frame);
      CHECK(false);
    } catch (const infdet::Error &error) {
      CHECK(error.status() == INFDET_ERROR_ARGUMENT && std::strstr(error.what(), "row_bytes"));
    }
  }
  for (const auto &[height, width, text] : {std::tuple{size_t{kSide}, size_t{1} << 20, "frame.width is 1048576 pixels"},
                                            std::tuple{size_t{0}, size_t{kSide}, "frame.height is 0 pixels"}}) {
    const infdet_frame frame{sizeof frame, row.data(), 8, height, width, kSide + 7, std::nan("")};
    try {
      strided.push(frame);
      CHECK(false);
    } catch (const infdet::Error &error) {
      CHECK(error.status() == INFDET_ERROR_ARGUMENT && std::strstr(error.what(), text));
    }
  }
  CHECK(packed.scores().empty());
  packed.flush(), strided.flush();
  const std::vector<float> scores = packed.scores();
  CHECK(scores.size() == 49 * 2 && scores == strided.scores());
  for (const float score : scores) CHECK(score >= 0 && score <= 1);

  given = options();
  given.chunk_snippets = 4;
  const infdet::Model chunked(bundle(), given);
  infdet::Stream stopped(chunked, kFps);
  int calls = 0;
  stopped.set_progress(stop_third, &calls);
  try {
    stopped.push(frames.data(), 400, kSide, kSide);
    CHECK(false);
  } catch (const infdet::Error &error) {
    CHECK(error.status() == INFDET_ABORTED && calls == 3);
  }
}

void test_reasons_of_backends() {
  using infdet::detail::first_line;
  CHECK(first_line("one\ntwo") == "one");
  CHECK(first_line(" \n") == "no reason given");
  CHECK(first_line("Exception from src/core.cpp:84:\nCheck 'false' failed at src/report.cpp:151:\nNot converted.\n"
                   "-- Blah-28\n") == "Not converted. -- Blah-28");
  CHECK(first_line("Exception from src/core.cpp:84:\n") == "Exception from src/core.cpp:84:");
}

} // namespace

int main() {
  folder = infdet::test::prepared_folder();
  test_reasons_of_backends();
  test_whole_clips_and_streams();
  test_live_streams_match_clips();
  test_misuse();
  test_counts_and_times();
  test_damaged_bundles();
  test_faults_of_a_backend();
  test_eight_threads_share_a_model();
  test_opening_and_closing_does_not_grow();
  test_cpp_wrapper();
  test_what_embedders_need();
  std::filesystem::remove_all(folder);
  std::puts("all passed");
}
