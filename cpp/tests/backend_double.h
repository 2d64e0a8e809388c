// A test backend: a few sums in plain C++ that sanitizers see completely, with equal results on every machine. And a
// bundle of a few hundred bytes for it.
#pragma once

#include <string>

namespace infdet::test {

// Add the backend "double", and backends that fail while computing: "double-throws", "double-odd" (throws an int),
// "double-memory", "double-nan" and "double-short" (too few rows).
void add_double();

// Write a bundle into the new folder `path`. Only add_double's backends can run it. preprocessing, rule: more members of
// these objects, each after a comma.
void write_bundle(const std::string &path, const std::string &preprocessing = "", const std::string &rule = "");

// Add the backends and make a folder under /tmp with the bundles double.infdet and background.infdet, which has background
// levels, 9 frames a second and interpolated ends; returns the folder.
std::string prepared_folder();

// The text of a manifest: its SHA-256, then `rest`, which ends with the closing brace.
std::string sealed(const std::string &rest);

// Write that text as the manifest of the folder `path`.
void write_manifest(const std::string &path, const std::string &rest);

constexpr int kSide = 32; // of the bundle's frames, pixels

} // namespace infdet::test
