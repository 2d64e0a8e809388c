// Any bytes as the text of a manifest: read or refused with an Error, nothing else.
#include <string>

#include "backend_double.h"
#include "bundle.h"
#include "error.h"

namespace {

void read(const std::string &text) {
  try {
    infdet::detail::read_bundle_text("NAME.infdet", text);
  } catch (const infdet::detail::Error &) {
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string text(reinterpret_cast<const char *>(data), size);
  read(text);
  read(infdet::test::sealed(text)); // with the right digest, so that what lies behind it is reached
  return 0;
}
