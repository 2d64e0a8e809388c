// The double's GPU: host memory that only its own calls know, and work that is done when a stream is waited for.
#pragma once

#include <cstddef>
#include <functional>

#include "cuda_runtime_api.h"

namespace infdet::test {

// Work that a stream has not come to yet, or that is being recorded. False where the stream is not known.
bool enqueue(cudaStream_t stream, std::function<void()> work);

// Whether these bytes lie in one piece of memory on the GPU; pinned: of the host, from cudaMallocHost.
bool on_device(const void *memory, size_t bytes);
bool pinned(const void *memory, size_t bytes);

// What has not been given back: memory, streams and graphs.
size_t held();

size_t launches(); // of graphs
extern bool refuse_capture; // as an engine does whose work cannot be recorded

} // namespace infdet::test
