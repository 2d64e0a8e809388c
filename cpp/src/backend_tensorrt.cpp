// TensorRT engines from the engine cache of `infdet-deploy build`, on an NVIDIA GPU; TensorRT 10.3 or later.
// A call runs in a lane: a CUDA stream, a device buffer and a pinned buffer for every tensor (sized for the engine's
// longest clip), and a CUDA graph for each combination of input shapes. A stage has as many lanes as the most threads
// that ran at once.
#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>
#include <stdexcept>

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include "backend.h"
#include "engine_cache.h"
#include "error.h"

namespace infdet::detail {
namespace {

constexpr size_t kGraphs = 8; // graphs kept by a lane; the least recently used is dropped first

void done(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorName(status));
}

// Keeps the last error that TensorRT reported, for messages.
class Logger : public nvinfer1::ILogger {
public:
  void log(Severity severity, const char *text) noexcept override {
    if (severity > Severity::kERROR) return;
    std::lock_guard<std::mutex> lock(mutex_);
    std::strncpy(last_, text, sizeof last_ - 1);
  }
  std::string reported() {
    std::lock_guard<std::mutex> lock(mutex_);
    return *last_ ? last_ : "no reason given";
  }

private:
  std::mutex mutex_;
  char last_[512] = "";
};

Logger &logger() {
  static auto &one = *new Logger;
  return one;
}

[[noreturn]] void failed(const std::string &what) { throw std::runtime_error(what + ": " + logger().reported()); }

size_t item_bytes(nvinfer1::DataType type) {
  switch (type) {
  case nvinfer1::DataType::kUINT8: return 1;
  case nvinfer1::DataType::kINT64: return 8;
  case nvinfer1::DataType::kFLOAT: return 4;
  default: throw std::runtime_error("a tensor is neither uint8, int64 nor float32; export the bundle and build again");
  }
}

nvinfer1::DataType type_of(Type type) {
  return type == Type::uint8   ? nvinfer1::DataType::kUINT8
         : type == Type::int64 ? nvinfer1::DataType::kINT64
                               : nvinfer1::DataType::kFLOAT;
}

Shape shape_of(const nvinfer1::Dims &dims) {
  if (dims.nbDims < 0) throw std::runtime_error("TensorRT does not know a tensor's shape; build the engine again");
  return Shape(dims.d, dims.d + dims.nbDims);
}

nvinfer1::Dims dims_of(const Shape &shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

std::string text_of(const Shape &shape) {
  std::string text;
  for (size_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

size_t count_of(const Shape &shape) {
  size_t count = 1;
  for (size_t size : shape) count *= size;
  return count;
}

// An input or output of an engine; shortest and longest shape in its profile.
struct Port {
  std::string name;
  bool input, varies;
  nvinfer1::DataType type;
  Shape shortest, longest;
};

std::vector<Port> ports_of(const nvinfer1::ICudaEngine &engine) {
  using nvinfer1::OptProfileSelector;
  std::vector<Port> ports;
  for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
    const char *name = engine.getIOTensorName(i);
    const nvinfer1::Dims dims = engine.getTensorShape(name);
    Port port{name, engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT,
              std::count(dims.d, dims.d + dims.nbDims, -1) > 0, engine.getTensorDataType(name), {}, {}};
    if (port.input) {
      port.shortest = shape_of(port.varies ? engine.getProfileShape(name, 0, OptProfileSelector::kMIN) : dims);
      port.longest = shape_of(port.varies ? engine.getProfileShape(name, 0, OptProfileSelector::kMAX) : dims);
    }
    ports.push_back(std::move(port));
  }
  return ports;
}

// GPU memory, or pinned host memory, which can be copied asynchronously.
struct Freed {
  bool pinned;
  void operator()(void *memory) const { pinned ? cudaFreeHost(memory) : cudaFree(memory); }
};
using Memory = std::unique_ptr<void, Freed>;

Memory allocate(size_t bytes, bool pinned) {
  void *memory = nullptr;
  if (bytes) done(pinned ? cudaMallocHost(&memory, bytes) : cudaMalloc(&memory, bytes));
  return Memory(memory, Freed{pinned});
}

using Context = std::unique_ptr<nvinfer1::IExecutionContext>;

class Lane {
public:
  Lane(nvinfer1::ICudaEngine &engine, const std::vector<Port> &ports, const std::string &remedy)
      : engine_(engine), ports_(ports), remedy_(remedy) {
    cudaStream_t stream = nullptr;
    done(cudaStreamCreate(&stream));
    stream_.reset(stream);
    scratch_bytes_ = engine.getDeviceMemorySizeV2(); // shared: contexts of a lane never run at the same time
    scratch_ = allocate(static_cast<size_t>(scratch_bytes_), false);
    Context longest = context();
    for (const Port &port : ports_)
      if (port.varies && port.input && !longest->setInputShape(port.name.c_str(), dims_of(port.longest)))
        failed("TensorRT refuses " + port.name);
    if (longest->inferShapes(0, nullptr)) failed("TensorRT does not know the shapes of the outputs");
    for (const Port &port : ports_) {
      const size_t bytes = count_of(shape_of(longest->getTensorShape(port.name.c_str()))) * item_bytes(port.type);
      buffers_.push_back({allocate(bytes, false), allocate(bytes, true)});
    }
  }

  ~Lane() { cudaStreamSynchronize(stream_.get()); }

  // Compute. Outputs stay in the device buffers.
  void run(const std::vector<Feed> &feeds) {
    std::vector<Shape> shapes;
    for (size_t i = 0; i < ports_.size(); ++i)
      if (ports_[i].input) shapes.push_back(feed(i, feeds));
    auto found = std::find_if(recorded_.begin(), recorded_.end(), [&](const Recorded &r) { return r.shapes == shapes; });
    if (found != recorded_.end())
      recorded_.splice(recorded_.begin(), recorded_, found);
    else
      record(shapes);
    const Recorded &now = recorded_.front();
    if (now.graph)
      done(cudaGraphLaunch(now.graph.get(), stream_.get()));
    else if (!now.context->enqueueV3(stream_.get()))
      failed("TensorRT");
    done(cudaStreamSynchronize(stream_.get()));
  }

  Output read(const std::string &name) {
    const size_t i = index_of(name);
    Output output{shape(name), {}};
    output.values.resize(count_of(output.shape));
    const size_t bytes = output.values.size() * sizeof(float);
    done(cudaMemcpyAsync(buffers_[i].pinned.get(), buffers_[i].device.get(), bytes, cudaMemcpyDeviceToHost, stream_.get()));
    done(cudaStreamSynchronize(stream_.get()));
    std::memcpy(output.values.data(), buffers_[i].pinned.get(), bytes);
    return output;
  }

  // Shape and address of an output of the last run.
  Shape shape(const std::string &name) const {
    return shape_of(recorded_.front().context->getTensorShape(name.c_str()));
  }
  void *device(const std::string &name) const { return buffers_[index_of(name)].device.get(); }

  void clear(void *begin, size_t bytes) {
    done(cudaMemsetAsync(begin, 0, bytes, stream_.get()));
    done(cudaStreamSynchronize(stream_.get()));
  }

private:
  struct Closed {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  template <class Handle> using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Closed>;

  struct Buffer {
    Memory device, pinned;
  };
  struct Recorded {
    std::vector<Shape> shapes;
    Context context;
    Owned<cudaGraphExec_t> graph; // null if the engine cannot be recorded; then it is enqueued
  };

  size_t index_of(const std::string &name) const {
    for (size_t i = 0; i < ports_.size(); ++i)
      if (ports_[i].name == name) return i;
    throw std::runtime_error("the engine has no tensor '" + name + "'; build it again");
  }

  Context context() const {
    Context made(engine_.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    if (!made) failed("TensorRT creates no execution context");
    if (scratch_) made->setDeviceMemoryV2(scratch_.get(), scratch_bytes_);
    return made;
  }

  // Copy an input into its device buffer; the graphs read from there.
  Shape feed(size_t i, const std::vector<Feed> &feeds) {
    const Port &port = ports_[i];
    auto given = std::find_if(feeds.begin(), feeds.end(), [&](const Feed &one) { return port.name == one.name; });
    if (given == feeds.end()) throw std::runtime_error("the engine's input '" + port.name + "' is not fed; build it again");
    bool fits = given->shape.size() == port.longest.size() && type_of(given->type) == port.type;
    for (size_t n = 0; fits && n < given->shape.size(); ++n)
      fits = port.shortest[n] <= given->shape[n] && given->shape[n] <= port.longest[n];
    if (!fits)
      throw std::runtime_error(port.name + " has shape " + text_of(given->shape) + ", the engine supports " +
                               text_of(port.shortest) + " to " + text_of(port.longest) + "; " + remedy_);
    const size_t bytes = count_of(given->shape) * item_bytes(port.type);
    const void *source = given->data;
    if (!given->on_device) {
      std::memcpy(buffers_[i].pinned.get(), source, bytes);
      source = buffers_[i].pinned.get();
    }
    done(cudaMemcpyAsync(buffers_[i].device.get(), source, bytes,
                         given->on_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice, stream_.get()));
    return given->shape;
  }

  // Set up a context for these input shapes and record its work as a CUDA graph.
  void record(const std::vector<Shape> &shapes) {
    Recorded made{shapes, context(), nullptr};
    size_t input = 0;
    for (size_t i = 0; i < ports_.size(); ++i) {
      const char *name = ports_[i].name.c_str();
      if (ports_[i].input) {
        const Shape &shape = shapes[input++];
        if (ports_[i].varies && !made.context->setInputShape(name, dims_of(shape)))
          failed("TensorRT refuses " + ports_[i].name + " of shape " + text_of(shape));
      }
      if (!made.context->setTensorAddress(name, buffers_[i].device.get())) failed("TensorRT refuses a buffer");
    }
    // TensorRT initializes lazily, so run once before recording
    if (!made.context->enqueueV3(stream_.get())) failed("TensorRT");
    done(cudaStreamSynchronize(stream_.get()));
    made.graph = capture(*made.context);
    recorded_.push_front(std::move(made));
    if (recorded_.size() > kGraphs) recorded_.pop_back();
  }

  Owned<cudaGraphExec_t> capture(nvinfer1::IExecutionContext &context) {
    done(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
    const bool enqueued = context.enqueueV3(stream_.get());
    cudaGraph_t graph = nullptr;
    const bool ended = cudaStreamEndCapture(stream_.get(), &graph) == cudaSuccess;
    const Owned<cudaGraph_t> owned(graph);
    if (!ended || !enqueued) {
      cudaGetLastError(); // or the next call reports the failed capture
      return nullptr;
    }
    cudaGraphExec_t executable = nullptr;
    done(cudaGraphInstantiateWithFlags(&executable, graph, 0));
    return Owned<cudaGraphExec_t>(executable);
  }

  nvinfer1::ICudaEngine &engine_;
  const std::vector<Port> &ports_;
  const std::string &remedy_;
  Owned<cudaStream_t> stream_;
  int64_t scratch_bytes_ = 0;
  Memory scratch_;
  std::vector<Buffer> buffers_;  // one for each port
  std::list<Recorded> recorded_; // most recently used first
};

class TensorRtStage : public Stage {
public:
  TensorRtStage(std::unique_ptr<nvinfer1::IRuntime> runtime, std::unique_ptr<nvinfer1::ICudaEngine> engine, int device,
                std::vector<std::string> outputs, std::string remedy)
      : runtime_(std::move(runtime)), engine_(std::move(engine)), device_(device), outputs_(std::move(outputs)),
        remedy_(std::move(remedy)), ports_(ports_of(*engine_)) {
    release(acquire()); // report missing memory when the stage is opened
  }

  std::vector<Output> run(const std::vector<Feed> &feeds) override {
    std::unique_ptr<Lane> lane = computed(feeds);
    std::vector<Output> results;
    for (const std::string &name : outputs_) results.push_back(lane->read(name));
    release(std::move(lane)); // a lane that failed is not reused
    return results;
  }

  std::unique_ptr<DeviceOutput> run_on_device(const std::vector<Feed> &feeds) override {
    return std::make_unique<Held>(*this, computed(feeds));
  }

private:
  // An output in a lane's buffer. The lane is free again when this object is destroyed.
  class Held : public DeviceOutput {
  public:
    Held(TensorRtStage &stage, std::unique_ptr<Lane> lane) : stage_(stage), lane_(std::move(lane)) {
      shape = lane_->shape(stage_.outputs_[0]);
    }
    ~Held() override { stage_.release(std::move(lane_)); }
    const void *data() const override { return lane_->device(stage_.outputs_[0]); }
    void clear_last() override {
      const size_t frame = count_of(shape) / shape.at(0);
      float *begin = static_cast<float *>(lane_->device(stage_.outputs_[0]));
      lane_->clear(begin + (shape[0] - 1) * frame, frame * sizeof(float));
    }

  private:
    TensorRtStage &stage_;
    std::unique_ptr<Lane> lane_;
  };

  std::unique_ptr<Lane> computed(const std::vector<Feed> &feeds) {
    std::unique_ptr<Lane> lane = acquire();
    lane->run(feeds);
    return lane;
  }

  std::unique_ptr<Lane> acquire() {
    done(cudaSetDevice(device_)); // a new thread uses GPU 0
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<Lane> lane = std::move(free_.back());
        free_.pop_back();
        return lane;
      }
    }
    return std::make_unique<Lane>(*engine_, ports_, remedy_);
  }

  void release(std::unique_ptr<Lane> lane) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(lane));
  }

  const std::unique_ptr<nvinfer1::IRuntime> runtime_;
  const std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  const int device_;
  const std::vector<std::string> outputs_;
  const std::string remedy_;
  const std::vector<Port> ports_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> free_; // destroyed first: lanes use the engine
};

EngineDevice current_device(int device) {
  cudaDeviceProp properties{};
  done(cudaGetDeviceProperties(&properties, device));
  const int32_t version = getInferLibVersion(); // major * 10000 + minor * 100 + patch
  auto part = [&](int unit) { return std::to_string(version / unit % 100); };
  return {properties.name, std::to_string(properties.major) + "." + std::to_string(properties.minor),
          part(10000) + "." + part(100) + "." + part(1)};
}

} // namespace

std::unique_ptr<Stage> open_tensorrt(const StageRequest &request) {
  int device = 0;
  if (cudaError_t status = cudaGetDevice(&device); status != cudaSuccess)
    throw Error(INFDET_ERROR_BACKEND, std::string("this machine has no NVIDIA GPU that CUDA can use (") +
                                          cudaGetErrorName(status) + ")");
  const Engine found = find_engine(request.file, request.precision, current_device(device));
  std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger()));
  if (!runtime) failed("TensorRT does not start");
  // A version-compatible engine contains code of its TensorRT version. It was built here, and its hash is checked.
  runtime->setEngineHostCodeAllowed(found.version_compatible);
  std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(found.bytes.data(), found.bytes.size()));
  if (!engine) failed("TensorRT does not load " + found.path + "; delete it and build again");
  return std::make_unique<TensorRtStage>(std::move(runtime), std::move(engine), device, request.outputs,
                                         "infdet-deploy build --target tensorrt, with larger --frames or --clip-frames");
}

} // namespace infdet::detail
