// The exception inside the library: a status and a one-line message.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "infdet.h"

namespace infdet::detail {

class Error : public std::runtime_error {
public:
  Error(infdet_status status, const std::string &text) : std::runtime_error(text), status(status) {}
  const infdet_status status;
};

// The error for an unusable manifest in `folder`.
Error damaged(const std::string &folder, const std::string &why);

// Text from a file, to quote in a message: one line, printable, at most `length` bytes.
inline std::string brief(const std::string &text, size_t length = 200) {
  std::string line;
  for (unsigned char c : text.substr(0, 2 * length)) {
    bool blank = c <= ' ' || c == 127;
    if (!blank)
      line += static_cast<char>(c);
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() <= length) return line;
  size_t cut = length - 3;
  while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut; // not inside a UTF-8 character
  return line.substr(0, cut) + "...";
}

// Whether a line has only a position in a source file, such as "Exception from src/core.cpp:84:".
inline bool is_position(const std::string &line) {
  const bool begins = line.rfind("Exception from ", 0) == 0 ||
                      (line.rfind("Check '", 0) == 0 && line.find("' failed at ") != std::string::npos);
  return begins && line.back() == ':';
}

// The first line that says something; after OpenVINO's lines of positions, all of the rest.
inline std::string first_line(const std::string &text) {
  const char *blank = " \t\r\n";
  bool positions = false;
  for (size_t start = text.find_first_not_of(blank); start != std::string::npos;
       start = text.find_first_not_of(blank, start)) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (!is_position(text.substr(start, text.find_last_not_of(blank, end - 1) + 1 - start)))
      return positions ? brief(text.substr(start), 300) : brief(text.substr(start, end - start));
    positions = true;
    start = end;
  }
  return positions ? brief(text) : "no reason given";
}

} // namespace infdet::detail
