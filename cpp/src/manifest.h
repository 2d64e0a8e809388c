// The text of a bundle's manifest.json: its digest, and strict reading.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "error.h"

namespace infdet::detail {

constexpr int kFormat = 2;
constexpr size_t kManifestBytes = 16'000'000;
inline const char *const kManifest = "manifest.json";

// The error for a manifest that cannot be used.
Error damaged(const std::string &folder, const std::string &why);

// The manifest in `folder`. Throws Error where it is missing, changed, newer, or not readable.
nlohmann::json read_manifest(const std::string &folder);

// The same from its text; `folder` is for messages.
nlohmann::json parse_manifest(const std::string &folder, const std::string &text);

} // namespace infdet::detail
