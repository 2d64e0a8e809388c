// Reads YUV4MPEG2, as written by `ffmpeg -pix_fmt gray -f yuv4mpegpipe -`. The header is a line such as
// "YUV4MPEG2 W640 H480 F25:1 Cmono". Each frame is the line "FRAME" and its bytes.
#pragma once

#include <cstdint>
#include <istream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace infdet {

struct Y4mHeader {
  uint32_t width = 0, height = 0; // pixels, 1 to 32768
  double fps = 0;
};

// Parse the first line, without its line end. Returns nothing unless it is a header of grey 8-bit frames.
inline std::optional<Y4mHeader> parse_y4m_header(const std::string &line) {
  std::istringstream words(line);
  std::string word, colours;
  if (!(words >> word) || word != "YUV4MPEG2") return std::nullopt;
  Y4mHeader header;
  while (words >> word) {
    std::istringstream value(word.substr(1));
    uint32_t frames = 0, seconds = 0;
    char colon = 0;
    if (word[0] == 'W') value >> header.width;
    if (word[0] == 'H') value >> header.height;
    if (word[0] == 'C') value >> colours;
    if (word[0] == 'F' && value >> frames >> colon >> seconds && colon == ':' && seconds)
      header.fps = static_cast<double>(frames) / seconds;
  }
  const bool sized = header.width && header.height && header.width <= 32768 && header.height <= 32768;
  if (!sized || header.fps <= 0 || colours != "mono") return std::nullopt;
  return header;
}

// Read the header of a stream. Throws std::runtime_error if it is not one.
inline Y4mHeader read_y4m_header(std::istream &input) {
  std::string line;
  std::getline(input, line);
  if (auto header = parse_y4m_header(line)) return *header;
  throw std::runtime_error(
      "standard input is not a grey YUV4MPEG2 stream; make one with: ffmpeg -i FILE -pix_fmt gray -f yuv4mpegpipe -");
}

// Read the next frame, uint8 [height, width]. Returns false at the end; an incomplete frame is dropped.
inline bool read_y4m_frame(std::istream &input, const Y4mHeader &header, std::vector<uint8_t> &frame) {
  std::string line; // "FRAME"
  frame.resize(static_cast<size_t>(header.width) * header.height);
  return std::getline(input, line) &&
         input.read(reinterpret_cast<char *>(frame.data()), static_cast<std::streamsize>(frame.size()));
}

} // namespace infdet
