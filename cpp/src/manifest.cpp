// 1. The text begins with {"sha256": "...": the SHA-256 of the whole text with 64 zeros in place of the digits.
// 2. It is UTF-8 JSON of at most 16 MB, without repeated keys, and every number is finite.
// 3. Format 1 has no digest and is still supported.
#include "manifest.h"

#include <set>
#include <sys/stat.h>
#include <system_error>
#include <vector>

#include "file.h"
#include "sha256.h"

namespace infdet::detail {
namespace {

using nlohmann::json;

constexpr int kDepth = 100; // a manifest has 6 levels
constexpr size_t kDigits = 64;

// Position of the first digit of the digest.
size_t seal_position(const std::string &folder, const std::string &text) {
  const std::string key = "\"sha256\": \"";
  size_t at = text.empty() || text[0] != '{' ? std::string::npos : text.find_first_not_of(" \t\n\r\f\v", 1);
  bool found = at != std::string::npos && text.compare(at, key.size(), key) == 0;
  size_t digits = at + key.size();
  found = found && text.size() > digits + kDigits && text[digits + kDigits] == '"' &&
          text.find_first_not_of("0123456789abcdef", digits) == digits + kDigits;
  if (!found) throw damaged(folder, "it does not begin with its own SHA-256");
  return digits;
}

void check_digest(const std::string &folder, const std::string &text) {
  size_t digits = seal_position(folder, text);
  Sha256 hash;
  hash.add(text.data(), digits);
  hash.add(std::string(kDigits, '0').data(), kDigits);
  hash.add(text.data() + digits + kDigits, text.size() - digits - kDigits);
  if (text.compare(digits, kDigits, hash.hex()) != 0)
    throw damaged(folder, "it was changed since it was written (SHA-256 differs)");
}

json parse(const std::string &folder, const std::string &text) {
  if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) throw damaged(folder, "it begins with a byte order mark");
  std::vector<std::set<std::string>> keys;
  auto watch = [&](int depth, json::parse_event_t event, json &value) {
    if (depth > kDepth) throw damaged(folder, "it is nested too deeply");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      throw damaged(folder, "'" + brief(value.get<std::string>()) + "' is there twice");
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception &error) {
    std::string why = error.what(); // begins with an error number in brackets
    size_t end = why.find("] ");
    throw damaged(folder, "it is not JSON: " + (end == std::string::npos ? why : why.substr(end + 2)));
  }
}

} // namespace

Error damaged(const std::string &folder, const std::string &why) {
  return Error(INFDET_ERROR_BUNDLE, folder + "/" + kManifest + " is damaged: " + brief(why) +
                                        "; copy the bundle again or export it again");
}

json parse_manifest(const std::string &folder, const std::string &text) {
  if (text.size() > kManifestBytes)
    throw damaged(folder, "it is larger than " + std::to_string(kManifestBytes / 1'000'000) + " MB");
  json manifest = parse(folder, text);
  if (!manifest.is_object()) throw damaged(folder, "it has no format number");
  auto format = manifest.find("format");
  if (format == manifest.end() || !format->is_number_integer() || *format < 1)
    throw damaged(folder, "it has no format number");
  if (*format > kFormat)
    throw Error(INFDET_ERROR_BUNDLE, folder + "/" + kManifest + " has format " + format->dump() +
                                         ", this version reads up to " + std::to_string(kFormat) +
                                         ": update libinfdet");
  if (*format > 1 || manifest.contains("sha256")) check_digest(folder, text);
  for (const char *key : {"name", "model", "preprocessing", "classes", "rule", "stages", "files"})
    if (!manifest.contains(key)) throw damaged(folder, std::string("'") + key + "' is missing");
  return manifest;
}

json read_manifest(const std::string &folder) {
  const std::string path = folder + "/" + kManifest;
  struct stat found;
  if (lstat(path.c_str(), &found))
    throw Error(INFDET_ERROR_BUNDLE, folder + " is not a bundle: it has no " + kManifest);
  if (!S_ISREG(found.st_mode))
    throw Error(INFDET_ERROR_BUNDLE, folder + ": '" + kManifest + "' is a link or no file at all; refused");
  std::string text;
  try {
    text = File(path).read(kManifestBytes + 1);
  } catch (const std::system_error &error) {
    throw damaged(folder, error.code().message());
  }
  return parse_manifest(folder, text);
}

} // namespace infdet::detail
