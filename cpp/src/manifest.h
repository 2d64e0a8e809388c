// Strict reading of a bundle's manifest.json.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "error.h"

namespace infdet::detail {

constexpr int kFormat = 2;
constexpr size_t kManifestBytes = 16'000'000;
inline const char *const kManifest = "manifest.json";

// Read the manifest in `folder`. Throws Error if it is missing, changed, newer or unreadable.
nlohmann::json read_manifest(const std::string &folder);

// Parse the text of a manifest; `folder` is for messages.
nlohmann::json parse_manifest(const std::string &folder, const std::string &text);

} // namespace infdet::detail
