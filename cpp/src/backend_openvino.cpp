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

class OpenVinoStage : public Stage {
public:
  OpenVinoStage(std::shared_ptr<ov::Core> core, ov::CompiledModel compiled, std::vector<std::string> outputs)
      : core_(std::move(core)), compiled_(std::move(compiled)), outputs_(std::move(outputs)) {}

  std::vector<Output> run(const std::vector<Feed> &feeds) override {
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

  std::shared_ptr<ov::Core> core_; // owns the plugin code that the other members run, so it is destroyed last
  ov::CompiledModel compiled_;
  const std::vector<std::string> outputs_;
  std::mutex mutex_;
  std::vector<ov::InferRequest> free_; // as many as the most threads that ran at once
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
  auto open = [&] {
    if (request.shapes.empty()) return core->compile_model(request.file, "CPU", properties);
    // Fixed shapes save the shape inference of every node: a third of the time of small networks with short inputs.
    std::shared_ptr<ov::Model> model = core->read_model(request.file);
    std::map<std::string, ov::PartialShape> shapes;
    for (const auto &[name, shape] : request.shapes) shapes[name] = ov::Shape(shape);
    model->reshape(shapes);
    return core->compile_model(model, "CPU", properties);
  };
  return std::make_unique<OpenVinoStage>(core, open(), request.outputs);
}

} // namespace infdet::detail
