// Objects that a C program refers to by a number in a pointer type. Numbers are never reused, so a closed handle is
// always recognized.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace infdet::detail {

template <class Object> class Handles {
public:
  const void *add(std::shared_ptr<Object> object) {
    static std::atomic<uintptr_t> last{0}; // one sequence for each kind of object
    const uintptr_t number = first_ + 16 * ++last;
    std::lock_guard<std::mutex> lock(mutex_);
    open_[number] = std::move(object);
    return reinterpret_cast<const void *>(number);
  }

  // The object, kept alive while it is used; null if the handle is not open.
  std::shared_ptr<Object> find(const void *handle) const {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = open_.find(reinterpret_cast<uintptr_t>(handle));
    return found == open_.end() ? nullptr : found->second;
  }

  // Close the handle and return its object; null if the handle is not open.
  std::shared_ptr<Object> remove(const void *handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = open_.find(reinterpret_cast<uintptr_t>(handle));
    if (found == open_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    open_.erase(found);
    return object;
  }

  // first: below 16, different for each kind of object.
  explicit Handles(uintptr_t first) : first_(first) {}

private:
  const uintptr_t first_;
  mutable std::mutex mutex_;
  std::unordered_map<uintptr_t, std::shared_ptr<Object>> open_;
};

} // namespace infdet::detail
