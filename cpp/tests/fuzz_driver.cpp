// Runs a fuzz target without libFuzzer: mutates the files of the given folders for -max_total_time=SECONDS.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace {

std::string mutated(const std::vector<std::string> &seeds, std::mt19937 &random) {
  auto below = [&](size_t n) { return n ? random() % n : 0; };
  std::string text = seeds[below(seeds.size())];
  for (size_t round = 0, rounds = 1 + below(4); round < rounds; ++round) {
    const size_t at = below(text.size()), length = below(1 + below(text.size() - at + 1));
    switch (below(6)) {
    case 0: text.insert(text.begin() + static_cast<std::ptrdiff_t>(at), static_cast<char>(random())); break;
    case 1: text.erase(at, length); break;
    case 2: text.insert(at, text.substr(at, length)); break;
    case 3: text.insert(at, std::to_string(static_cast<uint64_t>(random()) << below(33))); break;
    case 4:
      if (!text.empty()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      break;
    default: {
      const std::string &other = seeds[below(seeds.size())];
      const size_t from = below(other.size());
      text.replace(at, length, other.substr(from, below(40)));
    }
    }
  }
  return text;
}

} // namespace

int main(int count, char **arguments) {
  double seconds = 10;
  std::vector<std::string> seeds{""};
  for (int i = 1; i < count; ++i) {
    const std::string given = arguments[i];
    if (given.rfind("-max_total_time=", 0) == 0)
      seconds = std::atof(given.c_str() + given.find('=') + 1);
    else
      for (const auto &entry : std::filesystem::directory_iterator(given)) {
        std::ifstream file(entry.path(), std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
      }
  }
  std::mt19937 random(1);
  size_t runs = 0;
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) {
    const std::string text = runs < seeds.size() ? seeds[runs] : mutated(seeds, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(text.data()), text.size());
    ++runs;
  }
  std::printf("%zu runs, no failure\n", runs);
}
