// The files of a bundle against those that its manifest lists.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace infdet::detail {

// Whether every name is a plain file's and every entry has size and hash. Throws Error.
void check_listing(const std::string &folder, const nlohmann::json &files);

// The same, and that each file is there, plain, of the size and SHA-256 listed, with all its tensors; that nothing else
// is. Throws Error naming the file.
void check_files(const std::string &folder, const nlohmann::json &files);

} // namespace infdet::detail
