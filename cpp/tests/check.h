// What the native tests assert with: the first that fails ends the program with its place.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition) \
  ((condition) ? void() : (std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), std::exit(1)))
