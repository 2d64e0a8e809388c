// Any bytes as the header of raw frames: read or refused; what is read can be allocated.
#include <string>

#include "../examples/y4m.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const auto header = infdet::parse_y4m_header(std::string(reinterpret_cast<const char *>(data), size));
  if (!header) return 0;
  const bool sized = header->width >= 1 && header->width <= 32768 && header->height >= 1 && header->height <= 32768;
  if (!sized || !(header->fps > 0)) __builtin_trap();
  return 0;
}
