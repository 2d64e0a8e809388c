// The exception inside the library: a status and a one-line message.
#pragma once

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

inline std::string first_line(const std::string &text) {
  size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string::npos) return "no reason given";
  return brief(text.substr(start, text.find('\n', start) - start));
}

} // namespace infdet::detail
