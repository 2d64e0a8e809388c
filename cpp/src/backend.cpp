#include "backend.h"

#include <map>
#include <new>

#include "error.h"

namespace infdet::detail {
namespace {

std::map<std::string, OpenStage> &backends() {
  static auto &list = *new std::map<std::string, OpenStage>{
#ifdef INFDET_WITH_OPENVINO
      {"openvino", open_openvino},
#endif
#ifdef INFDET_WITH_TENSORRT
      {"tensorrt", open_tensorrt},
#endif
  };
  return list;
}

} // namespace

void check_backend(const std::string &backend) {
  if (backends().count(backend)) return;
  std::string names;
  for (const auto &[name, _] : backends()) names += (names.empty() ? "" : ", ") + name;
  throw Error(INFDET_ERROR_ARGUMENT,
              "no backend '" + brief(backend) + "'; this build has " + (names.empty() ? "none" : names));
}

std::unique_ptr<Stage> open_stage(const std::string &backend, const StageRequest &request) {
  check_backend(backend);
  try {
    return backends().at(backend)(request);
  } catch (const Error &) {
    throw;
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &error) {
    throw Error(INFDET_ERROR_BACKEND, backend + " refuses " + request.file + ": " + first_line(error.what()));
  }
}

void add_backend(const std::string &name, OpenStage open) { backends()[name] = std::move(open); }

} // namespace infdet::detail
