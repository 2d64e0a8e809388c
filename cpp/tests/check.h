// The assertion of the native tests: the first failure ends the program and prints its location.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition) \
  ((condition) ? void() : (std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition), std::exit(1)))
