// The double's GPU: host memory known only to its calls, and work that runs when a stream is synchronized.
#pragma once

#include <cstddef>
#include <functional>

#include "cuda_runtime_api.h"

namespace infdet::test {

// Add work to a stream, or to the graph being recorded on it. False if the stream is unknown.
bool enqueue(cudaStream_t stream, std::function<void()> work);

// Whether these bytes are in one allocation on the GPU; pinned: on the host, from cudaMallocHost.
bool on_device(const void *memory, size_t bytes);
bool pinned(const void *memory, size_t bytes);

// Number of allocations, streams and graphs that were not freed.
size_t held();

size_t launches(); // graph launches
extern bool refuse_capture; // simulates an engine that cannot be recorded

} // namespace infdet::test
