#include "bundle_files.h"

#include <algorithm>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <vector>

#include "error.h"
#include "file.h"
#include "manifest.h"

namespace infdet::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Error refused(const std::string &folder, const std::string &why) {
  return Error(INFDET_ERROR_BUNDLE, folder + ": " + why);
}

// A plain name: no path, not hidden.
bool is_file_name(const std::string &name) {
  auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  auto inner = [&](char c) { return letter(c) || c == '.' || c == '+' || c == '-'; };
  return !name.empty() && name.size() <= 200 && letter(name[0]) && std::all_of(name.begin(), name.end(), inner);
}

void check_nothing_else(const std::string &folder, const json &files) {
  std::vector<fs::directory_entry> entries;
  for (const auto &entry : fs::directory_iterator(folder)) entries.push_back(entry);
  std::sort(entries.begin(), entries.end());
  for (const auto &entry : entries) {
    std::string name = entry.path().filename().string();
    if (name == kManifest || files.contains(name)) continue;
    const char *what = entry.is_symlink() ? "link" : entry.is_directory() ? "folder" : "file";
    throw refused(folder, std::string(what) + " '" + brief(name) +
                              "' is not listed in the manifest; remove it or export again");
  }
}

void check_file(const std::string &folder, const std::string &name, const json &listed) {
  const std::string path = folder + "/" + name;
  struct stat found;
  if (lstat(path.c_str(), &found))
    throw refused(folder, "file '" + name + "' is missing; copy the bundle again or export it again");
  if (!S_ISREG(found.st_mode)) throw refused(folder, "'" + name + "' is a link or no file at all; refused");
  try {
    File file(path);
    if (file.size() != listed["bytes"].get<uint64_t>() || file.sha256() != listed["sha256"].get<std::string>())
      throw refused(folder, "file '" + name + "' was changed since it was exported (SHA-256 differs)");
    bool onnx = name.size() >= 5 && name.compare(name.size() - 5, 5, ".onnx") == 0;
    const std::string why = onnx ? fault(file) : "";
    if (!why.empty()) throw refused(folder, "'" + name + "' " + why + "; refused");
  } catch (const std::invalid_argument &error) {
    throw refused(folder, "'" + name + "' is not an ONNX file (" + error.what() + "); export again");
  } catch (const std::system_error &error) {
    throw refused(folder, "file '" + name + "' cannot be read: " + error.code().message());
  }
}

} // namespace

void check_listing(const std::string &folder, const json &files) {
  for (const auto &[name, entry] : files.items()) {
    if (!is_file_name(name))
      throw refused(folder, "the manifest lists '" + brief(name) +
                                "', which leads outside the bundle or is not a plain file name; refused");
    if (!entry.is_object() || !entry.contains("bytes") || !entry["bytes"].is_number_unsigned() ||
        !entry.contains("sha256") || !entry["sha256"].is_string())
      throw damaged(folder, "files: '" + name + "' has no size and SHA-256");
  }
}

void check_files(const std::string &folder, const json &files) {
  check_listing(folder, files);
  try {
    check_nothing_else(folder, files);
  } catch (const fs::filesystem_error &error) {
    throw refused(folder, "cannot be listed: " + error.code().message());
  }
  for (const auto &[name, entry] : files.items()) check_file(folder, name, entry);
}

} // namespace infdet::detail
