// A backend that stands in for a real one: a few sums in plain C++, the same on every machine, so that sanitizers see all
// of a run. And a bundle of a few hundred bytes for it.
#pragma once

#include <string>

namespace infdet::test {

// Make the backends "double" and, each with its fault while computing, "double-throws", "double-odd" (throws an int),
// "double-memory", "double-nan" and "double-short" (too few rows) known to the library.
void add_double();

// Write a bundle into the folder `path`, which does not exist yet. Stages are for add_double's backends alone.
void write_bundle(const std::string &path);

// Make the backends known, and a new folder under /tmp with the bundle double.infdet in it; returns the folder.
std::string prepared_folder();

// A manifest's text: `rest`, which ends with the closing brace, after its own SHA-256.
std::string sealed(const std::string &rest);

// The same as the manifest of the folder `path`.
void write_manifest(const std::string &path, const std::string &rest);

constexpr int kSide = 32; // of the bundle's frames, pixels

} // namespace infdet::test
