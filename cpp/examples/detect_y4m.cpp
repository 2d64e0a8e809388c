// ffmpeg -i night.mp4 -pix_fmt gray -f yuv4mpegpipe - | infdet-detect-y4m tiny-1.infdet
//
// A camera loop has the same three steps: push each frame as it comes, flush at the end, poll.
#include <iostream>
#include <vector>

#include "infdet.hpp"
#include "y4m.h"

int main(int count, char **arguments) {
  if (count != 2) {
    std::cerr << "usage: infdet-detect-y4m BUNDLE < recording.y4m\n";
    return 2;
  }
  try {
    std::string line;
    std::getline(std::cin, line);
    auto header = infdet::parse_y4m_header(line);
    if (!header) {
      std::cerr << "standard input is no grey YUV4MPEG2 stream; make one with: ffmpeg -i FILE -pix_fmt gray -f "
                   "yuv4mpegpipe -\n";
      return 1;
    }
    infdet::Model model(arguments[1]);
    infdet::Stream stream(model, header->fps);
    std::vector<uint8_t> frame(static_cast<size_t>(header->width) * header->height);
    while (std::getline(std::cin, line)) { // "FRAME"
      if (!std::cin.read(reinterpret_cast<char *>(frame.data()), static_cast<std::streamsize>(frame.size()))) {
        std::cerr << "the last frame is incomplete; it is left out\n";
        break;
      }
      stream.push(frame.data(), 1, header->height, header->width);
    }
    stream.flush();
    while (auto found = stream.poll())
      std::cout << found->label << '\t' << found->start_s << '\t' << found->end_s << '\t' << found->score << '\n';
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
