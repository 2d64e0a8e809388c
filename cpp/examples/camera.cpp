// ffmpeg -f v4l2 -i /dev/video0 -pix_fmt gray -f yuv4mpegpipe - | infdet-camera night.infdet
//
// Live detection: prints each action once, as soon as it is final. The bundle needs incremental towers.
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
    auto print = [&] {
      while (auto found = stream.poll())
        std::cout << found->label << '\t' << found->start_s << '\t' << found->end_s << '\t' << found->score << std::endl;
    };
    std::vector<uint8_t> frame;
    while (infdet::read_y4m_frame(std::cin, header, frame)) {
      stream.push(frame.data(), 1, header.height, header.width);
      print();
    }
    stream.flush();
    print();
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
