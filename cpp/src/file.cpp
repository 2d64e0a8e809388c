#include "file.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "sha256.h"

namespace infdet::detail {
namespace {

constexpr size_t kWindow = 4096; // bytes that the scan of an ONNX file reads at once
constexpr size_t kBlock = 1 << 18;

std::system_error failure(int code) { return std::system_error(code, std::generic_category()); }

} // namespace

File::File(const std::string &path) : descriptor_(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) throw failure(errno);
  struct stat found;
  int code = fstat(descriptor_, &found) ? errno : S_ISREG(found.st_mode) ? 0 : EINVAL;
  if (code) {
    close(descriptor_);
    throw failure(code);
  }
  size_ = static_cast<uint64_t>(found.st_size);
}

File::~File() { close(descriptor_); }

size_t File::read_at(uint64_t offset, void *target, size_t size) {
  while (true) {
    ssize_t count = pread(descriptor_, target, size, static_cast<off_t>(offset));
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) throw failure(errno);
  }
}

uint8_t File::at(uint64_t index) {
  if (index < window_start_ || index - window_start_ >= window_size_) {
    window_.resize(kWindow);
    window_start_ = index;
    window_size_ = read_at(index, window_.data(), kWindow);
    if (!window_size_) throw failure(EIO); // the file became shorter
  }
  return window_[index - window_start_];
}

std::string File::read(size_t limit) {
  std::string text(std::min<uint64_t>(limit, size_), '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    size_t count = read_at(filled, text.data() + filled, text.size() - filled);
    if (!count) break;
    filled += count;
  }
  text.resize(filled);
  return text;
}

std::string File::sha256() {
  Sha256 hash;
  std::vector<uint8_t> block(kBlock);
  for (uint64_t at = 0; size_t count = read_at(at, block.data(), block.size()); at += count)
    hash.add(block.data(), count);
  return hash.hex();
}

} // namespace infdet::detail
