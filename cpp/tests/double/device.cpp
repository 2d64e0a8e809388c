#include "device.h"

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace infdet::test {

bool refuse_capture = false;

namespace {

using Work = std::vector<std::function<void()>>;

std::mutex mutex;
std::map<const char *, std::pair<size_t, bool>> memory; // begin -> bytes, pinned
std::map<const void *, Work> streams, graphs;
std::map<const void *, Work> recording; // by stream
size_t numbers = 4096, launched = 0;
thread_local int captures = 0; // begun by this thread; captures are of the mode that forbids memory to it alone

bool lies_in(const void *begin, size_t bytes, bool pinned) {
  auto after = memory.upper_bound(static_cast<const char *>(begin));
  if (after == memory.begin()) return false;
  const auto &[start, piece] = *--after;
  return piece.second == pinned && static_cast<const char *>(begin) + bytes <= start + piece.first;
}

template <class Handle> Handle number() { return reinterpret_cast<Handle>(numbers += 16); }

cudaError_t allocated(void **target, size_t bytes, bool pinned) {
  std::lock_guard<std::mutex> lock(mutex);
  if (captures) return cudaErrorStreamCaptureUnsupported;
  char *made = new char[bytes];
  std::memset(made, 0xAB, bytes);
  memory[made] = {bytes, pinned};
  *target = made;
  return cudaSuccess;
}

cudaError_t freed(void *target, bool pinned) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!target) return cudaSuccess;
  auto found = memory.find(static_cast<char *>(target));
  if (found == memory.end() || found->second.second != pinned) return cudaErrorInvalidValue;
  memory.erase(found);
  delete[] static_cast<char *>(target);
  return cudaSuccess;
}

bool add(cudaStream_t stream, std::function<void()> work) {
  auto found = recording.find(stream);
  Work *target = found != recording.end() ? &found->second : streams.count(stream) ? &streams[stream] : nullptr;
  if (target) target->push_back(std::move(work));
  return target;
}

} // namespace

bool enqueue(cudaStream_t stream, std::function<void()> work) {
  std::lock_guard<std::mutex> lock(mutex);
  return !(refuse_capture && recording.count(stream)) && add(stream, std::move(work));
}

bool on_device(const void *begin, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  return lies_in(begin, bytes, false);
}

bool pinned(const void *begin, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  return lies_in(begin, bytes, true);
}

size_t held() {
  std::lock_guard<std::mutex> lock(mutex);
  return memory.size() + streams.size() + graphs.size() + recording.size();
}

size_t launches() {
  std::lock_guard<std::mutex> lock(mutex);
  return launched;
}

} // namespace infdet::test

using namespace infdet::test;

const char *cudaGetErrorName(cudaError_t status) { return status == cudaSuccess ? "cudaSuccess" : "cudaErrorInvalidValue"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
  std::strcpy(properties->name, "Orin");
  properties->major = 8, properties->minor = 7;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **target, size_t bytes) { return allocated(target, bytes, false); }
cudaError_t cudaMallocHost(void **target, size_t bytes) { return allocated(target, bytes, true); }
cudaError_t cudaFree(void *target) { return freed(target, false); }
cudaError_t cudaFreeHost(void *target) { return freed(target, true); }

// Stricter than CUDA: host memory must be pinned, or the copy would block.
cudaError_t cudaMemcpyAsync(void *target, const void *source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to = kind == cudaMemcpyDeviceToHost ? pinned(target, bytes) : on_device(target, bytes);
  const bool from = kind == cudaMemcpyHostToDevice ? pinned(source, bytes) : on_device(source, bytes);
  if (!to || !from || !enqueue(stream, [=] { std::memcpy(target, source, bytes); })) return cudaErrorInvalidValue;
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *target, int value, size_t bytes, cudaStream_t stream) {
  if (!on_device(target, bytes) || !enqueue(stream, [=] { std::memset(target, value, bytes); })) return cudaErrorInvalidValue;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  std::lock_guard<std::mutex> lock(mutex);
  streams[*stream = number<cudaStream_t>()];
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard<std::mutex> lock(mutex);
  return streams.erase(stream) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Work work;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!streams.count(stream) || recording.count(stream)) return cudaErrorInvalidValue;
    work.swap(streams[stream]);
  }
  for (const auto &step : work) step();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard<std::mutex> lock(mutex);
  if (mode != cudaStreamCaptureModeThreadLocal || !streams.count(stream) || recording.count(stream)) return cudaErrorInvalidValue;
  recording[stream];
  ++captures;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  std::lock_guard<std::mutex> lock(mutex);
  auto found = recording.find(stream);
  if (found == recording.end()) return cudaErrorInvalidValue;
  Work work = std::move(found->second);
  recording.erase(found);
  --captures;
  if (work.empty()) return cudaErrorStreamCaptureInvalidated;
  graphs[*graph = number<cudaGraph_t>()] = std::move(work);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!graphs.count(graph)) return cudaErrorInvalidValue;
  *executable = number<cudaGraphExec_t>();
  graphs[*executable] = graphs[graph];
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!graphs.count(executable) || !streams.count(stream)) return cudaErrorInvalidValue;
  ++launched;
  for (const auto &step : graphs[executable]) streams[stream].push_back(step);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  std::lock_guard<std::mutex> lock(mutex);
  return graphs.erase(graph) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  std::lock_guard<std::mutex> lock(mutex);
  return graphs.erase(executable) ? cudaSuccess : cudaErrorInvalidValue;
}
