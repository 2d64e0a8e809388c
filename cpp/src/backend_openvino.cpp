// OpenVINO on the CPU.
#include <mutex>

#include <openvino/openvino.hpp>

#include "backend.h"
#include "error.h"

namespace infdet::detail {
namespace {

ov::element::Type type_of(Type type) {
  return type == Type::uint8 ? ov::element::u8 : type == Type::int64 ? ov::element::i64 : ov::element::f32;
}

// A compiled graph. Many threads may run it at once.
class Graph {
public:
  Graph(ov::CompiledModel compiled, std::vector<std::string> outputs)
      : compiled_(std::move(compiled)), outputs_(std::move(outputs)) {}

  std::vector<Output> run(const std::vector<Feed> &feeds) {
    ov::InferRequest request = acquire();
    for (const Feed &feed : feeds)
      request.set_tensor(feed.name, ov::Tensor(type_of(feed.type), ov::Shape(feed.shape), const_cast<void *>(feed.data)));
    request.infer();
    std::vector<Output> results;
    for (const std::string &name : outputs_) {
      const ov::Tensor tensor = request.get_tensor(name);
      const float *values = tensor.data<const float>();
      results.push_back({tensor.get_shape(), {values, values + tensor.get_size()}});
    }
    release(std::move(request)); // a request that failed is not reused
    return results;
  }

private:
  ov::InferRequest acquire() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return compiled_.create_infer_request();
    ov::InferRequest request = std::move(free_.back());
    free_.pop_back();
    return request;
  }

  void release(ov::InferRequest request) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(request));
  }

  ov::CompiledModel compiled_;
  const std::vector<std::string> outputs_;
  std::mutex mutex_;
  std::vector<ov::InferRequest> free_; // as many as the most threads that ran at once
};

using Shapes = std::map<std::string, Shape>;

// Compile a graph. Fixed shapes save the shape inference of every node: a third of the time of small networks with short
// inputs.
ov::CompiledModel compile(ov::Core &core, std::shared_ptr<ov::Model> model, const Shapes &shapes,
                          const ov::AnyMap &properties) {
  if (shapes.empty()) return core.compile_model(model, "CPU", properties);
  std::map<std::string, ov::PartialShape> fixed;
  for (const auto &[name, shape] : shapes) fixed[name] = ov::Shape(shape);
  model->reshape(fixed);
  return core.compile_model(model, "CPU", properties);
}

// A stage that is compiled again, from the request's `fixed_file`, for the shapes of its inputs when they come twice in a row.
// Compiling takes about as long as the faster graph saves in one clip of 100 frames.
class OpenVinoStage : public Stage {
public:
  OpenVinoStage(std::shared_ptr<ov::Core> core, const StageRequest &request, ov::AnyMap properties)
      : core_(std::move(core)), properties_(std::move(properties)), outputs_(request.outputs),
        plain_(compile(*core_, core_->read_model(request.file), request.shapes, properties_), outputs_) {
    // Read now, because the bundle's files have just been checked.
    if (!request.fixed_file.empty()) model_ = core_->read_model(request.fixed_file);
  }

  std::vector<Output> run(const std::vector<Feed> &feeds) override {
    std::shared_ptr<Graph> fixed = model_ ? graph_for(feeds) : nullptr;
    return fixed ? fixed->run(feeds) : plain_.run(feeds);
  }

private:
  // The graph for the shapes of these inputs; null if they are new.
  std::shared_ptr<Graph> graph_for(const std::vector<Feed> &feeds) {
    Shapes shapes;
    for (const Feed &feed : feeds) shapes[feed.name] = feed.shape;
    std::lock_guard<std::mutex> lock(mutex_);
    if (shapes == last_ && shapes != fixed_shapes_) {
      fixed_.reset(); // before the next one needs memory
      fixed_shapes_.clear();
      fixed_ = std::make_shared<Graph>(compile(*core_, model_->clone(), shapes, properties_), outputs_);
      fixed_shapes_ = shapes;
    }
    last_ = std::move(shapes);
    return last_ == fixed_shapes_ ? fixed_ : nullptr;
  }

  std::shared_ptr<ov::Core> core_; // owns the plugin code that the other members run, so it is destroyed last
  const ov::AnyMap properties_;
  const std::vector<std::string> outputs_;
  Graph plain_;
  std::shared_ptr<ov::Model> model_; // of `fixed_file`, or null
  std::mutex mutex_;
  Shapes last_, fixed_shapes_;
  std::shared_ptr<Graph> fixed_;
};

// All open stages share a core, because each core loads the plugins again.
std::shared_ptr<ov::Core> shared_core() {
  static std::mutex &mutex = *new std::mutex;
  static std::weak_ptr<ov::Core> &held = *new std::weak_ptr<ov::Core>;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<ov::Core> core = held.lock();
  if (!core) held = core = std::make_shared<ov::Core>();
  return core;
}

// Whether int8 products are summed without saturation. On x86 that needs VNNI.
bool has_exact_int8() {
#if defined(__GNUC__) && defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") || __builtin_cpu_supports("avxvnni");
#else
  return true;
#endif
}

} // namespace

std::unique_ptr<Stage> open_openvino(const StageRequest &request) {
  if (request.precision == "int8" && !has_exact_int8())
    throw Error(INFDET_ERROR_BACKEND,
                "this processor has no VNNI, without which sums of int8 products overflow in openvino; use float32");
  std::shared_ptr<ov::Core> core = shared_core();
  // By default OpenVINO computes the whole graph in bfloat16 on CPUs that have it. f32 makes each operator compute in
  // the type that the graph says.
  ov::AnyMap properties{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                        ov::hint::inference_precision(ov::element::f32)};
  if (request.threads) properties.insert(ov::inference_num_threads(request.threads));
  return std::make_unique<OpenVinoStage>(std::move(core), request, std::move(properties));
}

} // namespace infdet::detail
