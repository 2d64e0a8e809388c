// Compares a bundle's files with its manifest.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace infdet::detail {

// Throw Error unless every name is a plain file name and every entry has a size and a hash.
void check_listing(const std::string &folder, const nlohmann::json &files);

// Check the listing and every file: regular, with the listed size and SHA-256, without external data. Unlisted files are
// refused. Throws Error with the name of the file.
void check_files(const std::string &folder, const nlohmann::json &files);

} // namespace infdet::detail
