// ffmpeg -f v4l2 -i /dev/video0 -pix_fmt gray -f yuv4mpegpipe - | infdet-camera night.infdet
//
// A camera that never stops: each action is printed once, as soon as it is certain. The bundle was exported with --stream.
#include <iostream>
#include <vector>

#include "infdet.hpp"
#include "y4m.h"

int main(int count, char **arguments) {
  if (count != 2) {
    std::cerr << "usage: infdet-camera BUNDLE < frames.y4m\n";
    return 2;
  }
  try {
    infdet_options options = infdet_default_options();
    options.live = 1;
    infdet::Model model(arguments[1], options);
    const infdet::Y4mHeader header = infdet::read_y4m_header(std::cin);
    infdet::Stream stream = infdet::Stream::live(model, header.fps);
    auto tell = [&] {
      while (auto found = stream.poll())
        std::cout << found->label << '\t' << found->start_s << '\t' << found->end_s << '\t' << found->score << std::endl;
    };
    std::vector<uint8_t> frame;
    while (infdet::read_y4m_frame(std::cin, header, frame)) {
      stream.push(frame.data(), 1, header.height, header.width);
      tell();
    }
    stream.flush();
    tell();
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
