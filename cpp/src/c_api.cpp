// The C interface: checks arguments, looks up handles, turns exceptions into a status and a message.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string>

#include "error.h"
#include "handles.h"
#include "infdet.h"
#include "model.h"
#include "resize.h"
#include "stream.h"

#ifndef INFDET_VERSION
#define INFDET_VERSION "0.0.0"
#endif

namespace {

using namespace infdet::detail;

thread_local char last_error[1024] = ""; // fixed size: storing a message cannot fail

infdet_status failed(infdet_status status, const char *text) noexcept {
  std::strncpy(last_error, text, sizeof last_error - 1);
  return status;
}

// Run the body of a call and catch every exception.
template <class Body> infdet_status guarded(Body &&body) noexcept {
  try {
    body();
    return INFDET_OK;
  } catch (const Error &error) {
    return failed(error.status, error.what());
  } catch (const std::bad_alloc &) {
    return failed(INFDET_ERROR_MEMORY, "out of memory");
  } catch (const std::length_error &) {
    return failed(INFDET_ERROR_MEMORY, "out of memory: the request is too large");
  } catch (const std::exception &error) {
    return failed(INFDET_ERROR_INTERNAL, error.what());
  } catch (...) {
    return failed(INFDET_ERROR_INTERNAL, "unknown failure");
  }
}

void need(const void *pointer, const char *name) {
  if (!pointer) throw Error(INFDET_ERROR_ARGUMENT, std::string(name) + " is null");
}

// A stream, and the lock that serializes calls on it.
struct SharedStream {
  const std::unique_ptr<Stream> stream;
  std::mutex mutex;
  explicit SharedStream(std::unique_ptr<Stream> opened) : stream(std::move(opened)) {}
};

// Never destroyed: a program that exits without closing handles must not race with its threads.
Handles<Model> &models() {
  static auto &table = *new Handles<Model>(1);
  return table;
}
Handles<SharedStream> &streams() {
  static auto &table = *new Handles<SharedStream>(2);
  return table;
}

// Arrays returned by infdet_detect and not freed yet, by address.
std::mutex &arrays_mutex() {
  static auto &mutex = *new std::mutex;
  return mutex;
}
std::unordered_map<infdet_detection *, std::unique_ptr<infdet_detection[]>> &arrays() {
  static auto &table = *new std::unordered_map<infdet_detection *, std::unique_ptr<infdet_detection[]>>;
  return table;
}

template <class Object> std::shared_ptr<Object> opened(std::shared_ptr<Object> object, const char *kind) {
  if (!object) throw Error(INFDET_ERROR_HANDLE, std::string("this ") + kind + " is closed or was never opened");
  return object;
}

std::shared_ptr<Model> model_of(const infdet_model *handle) {
  need(handle, "model");
  return opened(models().find(handle), "model");
}

std::shared_ptr<SharedStream> stream_of(const infdet_stream *handle) {
  need(handle, "stream");
  return opened(streams().find(handle), "stream");
}

infdet_stream *handle_of(std::unique_ptr<Stream> stream) {
  auto shared = std::make_shared<SharedStream>(std::move(stream));
  return static_cast<infdet_stream *>(const_cast<void *>(streams().add(std::move(shared))));
}

template <class Pixel>
void push(infdet_stream *handle, const Pixel *frames, size_t count, size_t height, size_t width, const double *times_s) {
  auto shared = stream_of(handle);
  need(frames, "frames");
  std::lock_guard<std::mutex> lock(shared->mutex);
  shared->stream->push(frames, count, height, width, times_s);
}

void check_side(size_t pixels, const char *name, size_t most) {
  if (!pixels || pixels > most)
    throw Error(INFDET_ERROR_ARGUMENT,
                std::string(name) + " is " + std::to_string(pixels) + " pixels, expected 1 to " + std::to_string(most));
}

// Push a frame whose rows may lie apart.
template <class Pixel> void push_one(infdet_stream *handle, const infdet_frame &frame) {
  need(frame.pixels, "frame.pixels");
  const double *time_s = std::isnan(frame.time_s) ? nullptr : &frame.time_s;
  const size_t row = frame.width * sizeof(Pixel);
  if (!frame.row_bytes || frame.row_bytes == row)
    return push(handle, static_cast<const Pixel *>(frame.pixels), 1, frame.height, frame.width, time_s);
  check_side(frame.height, "frame.height", kMaxSide);
  check_side(frame.width, "frame.width", kMaxSide);
  if (frame.row_bytes < row)
    throw Error(INFDET_ERROR_ARGUMENT, "frame.row_bytes is " + std::to_string(frame.row_bytes) + ", a row of " +
                                           std::to_string(frame.width) + " pixels has " + std::to_string(row));
  std::vector<Pixel> packed(frame.height * frame.width);
  for (size_t y = 0; y < frame.height; ++y)
    std::memcpy(packed.data() + y * frame.width, static_cast<const char *>(frame.pixels) + y * frame.row_bytes, row);
  push(handle, packed.data(), 1, frame.height, frame.width, time_s);
}

// Options of a program that may know fewer or more fields than this library.
infdet_options known_options(const infdet_options *given) {
  infdet_options options;
  infdet_init_options(&options, sizeof options);
  if (!given) return options;
  const size_t size = given->struct_size;
  if (size < sizeof given->struct_size || size > 4096)
    throw Error(INFDET_ERROR_ARGUMENT, "options are not initialized; start from infdet_default_options()");
  const char *bytes = reinterpret_cast<const char *>(given);
  for (size_t i = sizeof options; i < size; ++i)
    if (bytes[i]) throw Error(INFDET_ERROR_ARGUMENT, "options of a newer version are set; update libinfdet");
  std::memcpy(&options, given, std::min(size, sizeof options));
  return options;
}

Options checked(const infdet_options &given) {
  need(given.backend, "options.backend");
  need(given.precision, "options.precision");
  if (given.chunk_snippets < 1 || given.chunk_snippets > 4096)
    throw Error(INFDET_ERROR_ARGUMENT,
                "options.chunk_snippets is " + std::to_string(given.chunk_snippets) + ", expected 1 to 4096");
  if (given.threads < 0 || given.threads > 4096)
    throw Error(INFDET_ERROR_ARGUMENT, "options.threads is " + std::to_string(given.threads) + ", expected 0 to 4096");
  if (given.live != 0 && given.live != 1)
    throw Error(INFDET_ERROR_ARGUMENT, "options.live is " + std::to_string(given.live) + ", expected 0 or 1");
  if (given.threshold_count) need(given.thresholds, "options.thresholds");
  if (given.thresholds && !given.threshold_count)
    throw Error(INFDET_ERROR_ARGUMENT, "options.threshold_count is 0, options.thresholds are given; expected one for each class");
  if (given.threshold_count > 4096)
    throw Error(INFDET_ERROR_ARGUMENT, "options.threshold_count is " + std::to_string(given.threshold_count) +
                                           ", expected one for each class");
  return {given.backend, given.precision, static_cast<size_t>(given.chunk_snippets), given.threads, given.live == 1,
          std::vector<double>(given.thresholds, given.thresholds + given.threshold_count)};
}

// Owned by the model.
const char *class_name(const Model &model, int32_t class_index) {
  const auto &classes = model.bundle.classes;
  if (class_index < 0 || static_cast<size_t>(class_index) >= classes.size())
    throw Error(INFDET_ERROR_ARGUMENT, "no class " + std::to_string(class_index) + "; there are " +
                                           std::to_string(classes.size()) + ", with indices from 0");
  return classes[static_cast<size_t>(class_index)].c_str();
}

} // namespace

const char *infdet_status_name(infdet_status status) {
  switch (status) {
  case INFDET_OK: return "INFDET_OK";
  case INFDET_NOTHING: return "INFDET_NOTHING";
  case INFDET_ERROR_ARGUMENT: return "INFDET_ERROR_ARGUMENT";
  case INFDET_ERROR_HANDLE: return "INFDET_ERROR_HANDLE";
  case INFDET_ERROR_BUNDLE: return "INFDET_ERROR_BUNDLE";
  case INFDET_ERROR_BACKEND: return "INFDET_ERROR_BACKEND";
  case INFDET_ERROR_FRAMES: return "INFDET_ERROR_FRAMES";
  case INFDET_ERROR_STATE: return "INFDET_ERROR_STATE";
  case INFDET_ERROR_MEMORY: return "INFDET_ERROR_MEMORY";
  case INFDET_ERROR_INTERNAL: return "INFDET_ERROR_INTERNAL";
  case INFDET_ABORTED: return "INFDET_ABORTED";
  }
  return "unknown status";
}

uint32_t infdet_abi_version(void) { return INFDET_ABI_VERSION; }

const char *infdet_version(void) { return INFDET_VERSION; }

const char *infdet_last_error(void) { return last_error; }

infdet_status infdet_init_options(infdet_options *options, size_t struct_size) {
  return guarded([&] {
    need(options, "options");
    if (struct_size < sizeof options->struct_size || struct_size > 4096)
      throw Error(INFDET_ERROR_ARGUMENT, "struct_size is not sizeof(infdet_options)");
    const infdet_options defaults{struct_size, "openvino", "float32", 32, 0, 0, nullptr, 0};
    std::memset(options, 0, struct_size);
    std::memcpy(options, &defaults, std::min(struct_size, sizeof defaults));
  });
}

infdet_status infdet_open(const char *bundle, const infdet_options *options, infdet_model **model) {
  return guarded([&] {
    need(bundle, "bundle");
    need(model, "model");
    auto opened = std::make_shared<Model>(bundle, checked(known_options(options)));
    *model = static_cast<infdet_model *>(const_cast<void *>(models().add(std::move(opened))));
  });
}

infdet_status infdet_close(infdet_model *model) {
  return guarded([&] {
    if (model) opened(models().remove(model), "model");
  });
}

infdet_status infdet_describe(const infdet_model *handle, infdet_info *info) {
  return guarded([&] {
    auto model = model_of(handle);
    need(info, "info");
    const size_t size = info->struct_size;
    if (size < sizeof size || size > 4096)
      throw Error(INFDET_ERROR_ARGUMENT, "info.struct_size is not sizeof(infdet_info)");
    const Bundle &bundle = model->bundle;
    const infdet_info found{size, bundle.size, static_cast<int32_t>(bundle.classes.size()),
                            static_cast<int32_t>(kMinFrames), bundle.recognition, bundle.name.c_str(), bundle.fps.value_or(0),
                            bundle.frame_rate.value_or(0), bundle.levels == Levels::background};
    std::memset(info, 0, size);
    std::memcpy(info, &found, std::min(size, sizeof found));
  });
}

const char *infdet_class_name(const infdet_model *handle, int32_t class_index) {
  const char *name = nullptr;
  guarded([&] { name = class_name(*model_of(handle), class_index); });
  return name;
}

const char *infdet_stream_class_name(const infdet_stream *handle, int32_t class_index) {
  const char *name = nullptr;
  guarded([&] { name = class_name(stream_of(handle)->stream->model(), class_index); });
  return name;
}

infdet_status infdet_threshold(const infdet_model *handle, int32_t class_index, double *threshold) {
  return guarded([&] {
    auto model = model_of(handle);
    need(threshold, "threshold");
    class_name(*model, class_index); // checks the index
    *threshold = model->bundle.rule.thresholds[static_cast<size_t>(class_index)];
  });
}

infdet_status infdet_detect(const infdet_model *handle, const uint8_t *frames, size_t count, size_t height,
                            size_t width, double fps, infdet_detection **found, size_t *found_count) {
  return guarded([&] {
    auto model = model_of(handle);
    need(frames, "frames");
    need(found, "found");
    need(found_count, "found_count");
    ClipStream stream(model, fps);
    stream.push(frames, count, height, width, nullptr);
    stream.flush();
    std::vector<infdet_detection> detections;
    while (auto next = stream.poll()) detections.push_back(*next);
    infdet_detection *array = nullptr;
    if (!detections.empty()) {
      auto owned = std::make_unique<infdet_detection[]>(detections.size());
      std::copy(detections.begin(), detections.end(), owned.get());
      array = owned.get();
      std::lock_guard<std::mutex> lock(arrays_mutex());
      arrays()[array] = std::move(owned);
    }
    *found = array;
    *found_count = detections.size();
  });
}

infdet_status infdet_free_detections(infdet_detection *found) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(arrays_mutex());
    if (found && !arrays().erase(found))
      throw Error(INFDET_ERROR_ARGUMENT, "found is not an array from infdet_detect, or was freed before");
  });
}

infdet_status infdet_open_stream(const infdet_model *handle, double fps, infdet_stream **stream) {
  return guarded([&] {
    auto model = model_of(handle);
    need(stream, "stream");
    *stream = handle_of(std::make_unique<ClipStream>(model, fps));
  });
}

infdet_status infdet_open_live(const infdet_model *handle, double fps, double window_s, int32_t every_snippets,
                               infdet_stream **stream) {
  return guarded([&] {
    auto model = model_of(handle);
    need(stream, "stream");
    *stream = handle_of(std::make_unique<LiveStream>(model, fps, window_s, every_snippets));
  });
}

infdet_status infdet_push(infdet_stream *handle, const uint8_t *frames, size_t count, size_t height, size_t width) {
  return guarded([&] { push(handle, frames, count, height, width, nullptr); });
}

infdet_status infdet_push_timed(infdet_stream *handle, const uint8_t *frames, size_t count, size_t height, size_t width,
                                const double *times_s) {
  return guarded([&] {
    need(times_s, "times_s");
    push(handle, frames, count, height, width, times_s);
  });
}

infdet_status infdet_push16(infdet_stream *handle, const uint16_t *frames, size_t count, size_t height, size_t width,
                            const double *times_s) {
  return guarded([&] { push(handle, frames, count, height, width, times_s); });
}

infdet_status infdet_push_frame(infdet_stream *handle, const infdet_frame *frame) {
  return guarded([&] {
    need(frame, "frame");
    if (frame->struct_size != sizeof *frame)
      throw Error(INFDET_ERROR_ARGUMENT, "frame.struct_size is not sizeof(infdet_frame)");
    if (frame->bits == 8)
      push_one<uint8_t>(handle, *frame);
    else if (frame->bits == 16)
      push_one<uint16_t>(handle, *frame);
    else
      throw Error(INFDET_ERROR_ARGUMENT, "frame.bits is " + std::to_string(frame->bits) + ", expected 8 or 16");
  });
}

infdet_status infdet_set_progress(infdet_stream *handle, infdet_progress progress, void *context) {
  return guarded([&] {
    auto shared = stream_of(handle);
    std::lock_guard<std::mutex> lock(shared->mutex);
    if (progress)
      shared->stream->set_progress([=](size_t snippets) { return progress(context, snippets) != 0; });
    else
      shared->stream->set_progress(nullptr);
  });
}

infdet_status infdet_flush(infdet_stream *handle) {
  return guarded([&] {
    auto shared = stream_of(handle);
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->stream->flush();
  });
}

infdet_status infdet_poll(infdet_stream *handle, infdet_detection *detection) {
  bool nothing = false;
  infdet_status status = guarded([&] {
    auto shared = stream_of(handle);
    need(detection, "detection");
    std::lock_guard<std::mutex> lock(shared->mutex);
    auto next = shared->stream->poll();
    nothing = !next;
    if (next) *detection = *next;
  });
  return nothing ? INFDET_NOTHING : status;
}

infdet_status infdet_scores(infdet_stream *handle, const float **scores, size_t *snippets) {
  bool nothing = false;
  infdet_status status = guarded([&] {
    auto shared = stream_of(handle);
    need(scores, "scores");
    need(snippets, "snippets");
    std::lock_guard<std::mutex> lock(shared->mutex);
    const std::vector<float> *found = shared->stream->scores();
    nothing = !found;
    if (!found) return;
    *scores = found->data();
    *snippets = found->size() / shared->stream->model().bundle.classes.size();
  });
  return nothing ? INFDET_NOTHING : status;
}

infdet_status infdet_close_stream(infdet_stream *stream) {
  return guarded([&] {
    if (stream) opened(streams().remove(stream), "stream");
  });
}

infdet_status infdet_resize(const uint8_t *frames, size_t count, size_t height, size_t width, size_t size,
                            const char *mode, uint8_t *resized) {
  return guarded([&] {
    need(frames, "frames");
    need(mode, "mode");
    need(resized, "resized");
    check_side(height, "height", kMaxSide);
    check_side(width, "width", kMaxSide);
    check_side(size, "size", 4096);
    const std::string text = mode;
    if (text != "resize" && text != "crop")
      throw Error(INFDET_ERROR_ARGUMENT, "mode is '" + brief(text) + "', expected resize or crop");
    Resizer resizer(height, width, size, text == "crop" ? FrameMode::crop : FrameMode::resize);
    for (size_t i = 0; i < count; ++i) resizer.apply(frames + i * height * width, resized + i * size * size);
  });
}
