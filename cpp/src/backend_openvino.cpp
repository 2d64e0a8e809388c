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
    ov::InferRequest request = take();
    for (const Feed &feed : feeds)
      request.set_tensor(feed.name, ov::Tensor(type_of(feed.type), ov::Shape(feed.shape), const_cast<void *>(feed.data)));
    request.infer();
    std::vector<Output> results;
    for (const std::string &name : outputs_) {
      const ov::Tensor tensor = request.get_tensor(name);
      const float *values = tensor.data<const float>();
      results.push_back({tensor.get_shape(), {values, values + tensor.get_size()}});
    }
    give_back(std::move(request)); // one that failed is not used again
    return results;
  }

private:
  ov::InferRequest take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return compiled_.create_infer_request();
    ov::InferRequest request = std::move(free_.back());
    free_.pop_back();
    return request;
  }

  void give_back(ov::InferRequest request) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(request));
  }

  std::shared_ptr<ov::Core> core_; // holds the plugin that the rest is code of, so it goes last
  ov::CompiledModel compiled_;
  const std::vector<std::string> outputs_;
  std::mutex mutex_;
  std::vector<ov::InferRequest> free_; // as many as threads ever ran at once
};

// One for all stages that are open, since each reads the list of plugins and loads them.
std::shared_ptr<ov::Core> shared_core() {
  static std::mutex &mutex = *new std::mutex;
  static std::weak_ptr<ov::Core> &held = *new std::weak_ptr<ov::Core>;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<ov::Core> core = held.lock();
  if (!core) held = core = std::make_shared<ov::Core>();
  return core;
}

// Whether sums of int8 products are not cut off: on x86 instructions of their own add them up.
bool adds_bytes_exactly() {
#if defined(__GNUC__) && defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") || __builtin_cpu_supports("avxvnni");
#else
  return true;
#endif
}

} // namespace

std::unique_ptr<Stage> open_openvino(const StageRequest &request) {
  if (request.precision == "int8" && !adds_bytes_exactly())
    throw Error(INFDET_ERROR_BACKEND,
                "this processor has no VNNI, without which openvino cuts off sums of int8 products; take float32");
  std::shared_ptr<ov::Core> core = shared_core();
  // Left to itself OpenVINO computes all of a graph in bfloat16 where the CPU has it. Each operator is to compute in
  // the type that the graph gives it.
  ov::AnyMap properties{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                        ov::hint::inference_precision(ov::element::f32)};
  if (request.threads) properties.insert(ov::inference_num_threads(request.threads));
  auto open = [&] {
    if (request.shapes.empty()) return core->compile_model(request.file, "CPU", properties);
    // Without shape arithmetic before every node: a third of the time of small networks with short inputs.
    std::shared_ptr<ov::Model> model = core->read_model(request.file);
    std::map<std::string, ov::PartialShape> shapes;
    for (const auto &[name, shape] : request.shapes) shapes[name] = ov::Shape(shape);
    model->reshape(shapes);
    return core->compile_model(model, "CPU", properties);
  };
  return std::make_unique<OpenVinoStage>(core, open(), request.outputs);
}

} // namespace infdet::detail
