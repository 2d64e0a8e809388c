// infdet-detect night.infdet night.mp4
//
// Reads any video that FFmpeg supports. Grey and 8-bit YUV pictures, which means nearly all videos, become grey exactly
// as in Python; other formats are converted by libswscale. What decodes of a damaged or cut file is used, and the rest is
// reported.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include "infdet.hpp"

namespace {

struct Freed {
  void operator()(AVFormatContext *file) const { avformat_close_input(&file); }
  void operator()(AVCodecContext *decoder) const { avcodec_free_context(&decoder); }
  void operator()(AVFrame *frame) const { av_frame_free(&frame); }
  void operator()(AVPacket *packet) const { av_packet_free(&packet); }
  void operator()(SwsContext *scaler) const { sws_freeContext(scaler); }
};
template <class Object> using Owned = std::unique_ptr<Object, Freed>;

int done(int status, const std::string &what) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  if (status < 0) throw std::runtime_error(what + ": " + (av_strerror(status, text, sizeof text), text));
  return status;
}

// Luma from video range (16 to 235) to 0 to 255.
uint8_t stretched(uint8_t luma) {
  return static_cast<uint8_t>(std::clamp(std::floor((luma - 16) * (255.0 / 219) + 0.5), 0.0, 255.0));
}

// Convert a picture to grey, uint8 [height, width].
void grey(const AVFrame &picture, Owned<SwsContext> &scaler, std::vector<uint8_t> &pixels) {
  const size_t width = static_cast<size_t>(picture.width), height = static_cast<size_t>(picture.height);
  pixels.resize(width * height);
  const AVPixelFormat format = static_cast<AVPixelFormat>(picture.format);
  const AVPixFmtDescriptor &kind = *av_pix_fmt_desc_get(format);
  const bool yuv = (kind.flags & AV_PIX_FMT_FLAG_PLANAR) && !(kind.flags & AV_PIX_FMT_FLAG_RGB) && kind.nb_components >= 3;
  if (kind.comp[0].depth == 8 && (format == AV_PIX_FMT_GRAY8 || yuv)) {
    const bool full = !yuv || picture.color_range == AVCOL_RANGE_JPEG || std::string(kind.name).find("yuvj") == 0;
    for (size_t y = 0; y < height; ++y) {
      const uint8_t *row = picture.data[0] + static_cast<std::ptrdiff_t>(y) * picture.linesize[0];
      if (full)
        std::copy_n(row, width, pixels.data() + y * width);
      else
        std::transform(row, row + width, pixels.data() + y * width, stretched);
    }
    return;
  }
  // The same scaler as long as size and format stay.
  scaler.reset(sws_getCachedContext(scaler.release(), picture.width, picture.height, format, picture.width, picture.height,
                                    AV_PIX_FMT_GRAY8, SWS_BILINEAR, nullptr, nullptr, nullptr));
  if (!scaler) throw std::runtime_error(std::string("cannot convert ") + kind.name + " to grey");
  uint8_t *planes[] = {pixels.data()};
  const int strides[] = {picture.width};
  sws_scale(scaler.get(), picture.data, picture.linesize, 0, picture.height, planes, strides);
}

// The times of frames in seconds from the first, as in Python: a frame without a time, or not later than the one before,
// is shown 1/fps after it.
class FrameTimes {
public:
  FrameTimes(AVRational base, double fps) : base_(base), fps_(fps) {}

  double next(int64_t pts) {
    const double time_s = pts == AV_NOPTS_VALUE ? NAN : static_cast<double>(pts) * base_.num / base_.den;
    const bool first = std::exchange(first_, false);
    if (first) begin_s_ = time_s;
    if (!first) last_s_ = time_s - begin_s_ > last_s_ ? time_s - begin_s_ : last_s_ + 1 / fps_;
    return last_s_;
  }

private:
  const AVRational base_;
  const double fps_;
  bool first_ = true;
  double begin_s_ = 0, last_s_ = 0;
};

// Report a file that ends more than 1.5 frames and 1 % before its announced end.
void report_cut(const AVFormatContext &file, const AVStream &video, const std::string &path, double length_s, double fps) {
  double announced_s = 0;
  if (video.duration > 0)
    announced_s = static_cast<double>(video.duration) * av_q2d(video.time_base);
  else if (file.duration > 0 && file.nb_streams == 1) // a longer sound track would stretch it
    announced_s = static_cast<double>(file.duration) / AV_TIME_BASE;
  if (length_s < announced_s - std::max(1.5 / fps, 0.01 * announced_s))
    std::cerr << path << ": the file announces " << announced_s << " s, " << length_s << " s decode\n";
}

void detect(const char *bundle, const std::string &path) {
  av_log_set_level(AV_LOG_ERROR);
  infdet::Model model(bundle);
  AVFormatContext *opened = nullptr;
  done(avformat_open_input(&opened, path.c_str(), nullptr, nullptr), path);
  const Owned<AVFormatContext> file(opened);
  done(avformat_find_stream_info(file.get(), nullptr), path);
  const AVCodec *codec = nullptr;
  const int index = done(av_find_best_stream(file.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0), path);
  AVStream &video = *file->streams[index];
  const Owned<AVCodecContext> decoder(avcodec_alloc_context3(codec));
  done(avcodec_parameters_to_context(decoder.get(), video.codecpar), path);
  done(avcodec_open2(decoder.get(), codec, nullptr), path);

  const AVRational rate = video.avg_frame_rate.num ? video.avg_frame_rate : av_guess_frame_rate(file.get(), &video, nullptr);
  infdet::Stream stream(model, av_q2d(rate));
  FrameTimes times(video.time_base, av_q2d(rate));
  const Owned<AVPacket> packet(av_packet_alloc());
  const Owned<AVFrame> picture(av_frame_alloc());
  Owned<SwsContext> scaler;
  std::vector<uint8_t> pixels;
  bool more = true;
  size_t damaged = 0;
  double time_s = 0;
  while (more) {
    const int status = av_read_frame(file.get(), packet.get());
    more = status >= 0;
    if (!more && status != AVERROR_EOF) ++damaged;
    if (!more || packet->stream_index == index) // null ends the stream
      damaged += avcodec_send_packet(decoder.get(), more ? packet.get() : nullptr) < 0;
    av_packet_unref(packet.get());
    int received;
    while ((received = avcodec_receive_frame(decoder.get(), picture.get())) != AVERROR(EAGAIN) && received != AVERROR_EOF) {
      if (received < 0 || picture->decode_error_flags || (picture->flags & AV_FRAME_FLAG_CORRUPT)) {
        ++damaged;
        if (received < 0) break;
        continue;
      }
      grey(*picture, scaler, pixels);
      time_s = times.next(picture->pts); // bundles with a frame rate or background levels use it
      stream.push_timed(pixels.data(), 1, static_cast<size_t>(picture->height), static_cast<size_t>(picture->width), &time_s);
    }
  }
  if (damaged) std::cerr << path << ": " << damaged << " damaged packets or frames were left out\n";
  report_cut(*file, video, path, time_s + 1 / av_q2d(rate), av_q2d(rate));
  stream.flush();
  while (auto found = stream.poll())
    std::cout << found->label << '\t' << found->start_s << '\t' << found->end_s << '\t' << found->score << '\n';
}

} // namespace

int main(int count, char **arguments) {
  if (count != 3) {
    std::cerr << "usage: infdet-detect BUNDLE VIDEO\n";
    return 2;
  }
  try {
    detect(arguments[1], arguments[2]);
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
