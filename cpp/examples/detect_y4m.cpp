// ffmpeg -i night.mp4 -pix_fmt gray -f yuv4mpegpipe - | infdet-detect-y4m night.infdet
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
    const infdet::Y4mHeader header = infdet::read_y4m_header(std::cin);
    infdet::Model model(arguments[1]);
    infdet::Stream stream(model, header.fps);
    std::vector<uint8_t> frame;
    while (infdet::read_y4m_frame(std::cin, header, frame)) stream.push(frame.data(), 1, header.height, header.width);
    stream.flush();
    while (auto found = stream.poll())
      std::cout << found->label << '\t' << found->start_s << '\t' << found->end_s << '\t' << found->score << '\n';
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
