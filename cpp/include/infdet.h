/* infdet: detects actions in infrared recordings with a bundle exported by infdet-deploy. Needs no Python or PyTorch.

     infdet_model *model = NULL;
     infdet_options options = infdet_default_options();
     if (infdet_open("small-1.infdet", &options, &model) != INFDET_OK) {
       fprintf(stderr, "%s\n", infdet_last_error());
       return 1;
     }
     infdet_detection *found = NULL;
     size_t count = 0;
     if (infdet_detect(model, frames, 500, 480, 640, 25.0, &found, &count) == INFDET_OK)
       for (size_t i = 0; i < count; ++i)
         printf("%s %.2f to %.2f s, score %.3f\n", infdet_class_name(model, found[i].class_index), found[i].start_s,
                found[i].end_s, found[i].score);
     infdet_free_detections(found);
     infdet_close(model);

   Frames are grey, uint8, 0 to 255, row by row without padding, of any height and width. The library resizes them to
   the network's input size. A clip needs at least 16 frames.

   A bundle may demand two more steps, which the library also does: levels relative to each pixel's background, and
   interpolation to a frame rate. The 16 frames are then those after interpolation. For background levels, infdet_push16
   takes a thermal camera's counts; 8-bit frames must have 50 levels a kelvin. A recording's frames of the first 120 s
   are kept in memory until these are over.

   Status: every function that can fail returns a status. infdet_last_error() then gives one line: what was received,
   what was expected and what to do. No C++ exception leaves the library, and it never ends the process. A failed call
   does not change its output arguments.

   Handles: a model or a stream is a unique number in a pointer type and is never reused. A closed handle or any other
   pointer is refused with INFDET_ERROR_HANDLE. A stream keeps its model in memory, so either may be closed first.

   Threads: any function may be called from any thread. Many threads may use one model at once, each with its own stream
   or infdet_detect. Calls on one stream wait for each other. Closing a handle does not wait: running calls finish. */
#ifndef INFDET_H
#define INFDET_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define INFDET_API
#else
#define INFDET_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Increased when programs compiled with an older header stop working. Also the library's SOVERSION. */
#define INFDET_ABI_VERSION 1

typedef struct infdet_model infdet_model;
typedef struct infdet_stream infdet_stream;

typedef enum infdet_status {
  INFDET_OK = 0,
  INFDET_NOTHING = 1,        /* infdet_poll: no detection is waiting */
  INFDET_ERROR_ARGUMENT = 2, /* a null pointer, a value out of range, an unknown option */
  INFDET_ERROR_HANDLE = 3,   /* a model or stream that is closed or was never opened */
  INFDET_ERROR_BUNDLE = 4,   /* missing, changed, incomplete, or made by a newer version */
  INFDET_ERROR_BACKEND = 5,  /* not in this build, refuses a stage, or failed to compute */
  INFDET_ERROR_FRAMES = 6,   /* too few frames, or frames of another size, type or clock than before */
  INFDET_ERROR_STATE = 7,    /* a push or flush after a flush or a failure */
  INFDET_ERROR_MEMORY = 8,   /* out of memory */
  INFDET_ERROR_INTERNAL = 9, /* a bug in the library; please report it */
  INFDET_ABORTED = 10        /* the progress callback asked to stop; the stream accepts no more frames */
} infdet_status;

/* Name of a status, such as "INFDET_ERROR_FRAMES"; "unknown status" for other numbers. */
INFDET_API const char *infdet_status_name(infdet_status status);

/* How to open a bundle. Start from infdet_default_options(), then change fields. */
typedef struct infdet_options {
  size_t struct_size;     /* set by infdet_default_options: the size known to the program */
  const char *backend;    /* "openvino" (default), or "tensorrt" if the library was built with it */
  const char *precision;  /* "float32" (default), "bfloat16", "float16" or "int8"; the bundle must contain it. On
                             x86, OpenVINO's int8 needs VNNI */
  int32_t chunk_snippets; /* snippets of 8 frames per chunk, 1 to 4096, default 32; fewer need less memory */
  int32_t threads;        /* CPU threads of a backend; 0 (default): the backend decides */
  int32_t live;           /* 1: only for infdet_open_live; needs incremental towers. 0 (default): for
                             infdet_detect and infdet_open_stream */
  const double *thresholds; /* one for each class, 0 to 1, instead of the bundle's; null (default): the bundle's */
  size_t threshold_count;   /* of thresholds */
} infdet_options;

/* One action: times in seconds since the first frame, score 0 to 1. */
typedef struct infdet_detection {
  double start_s;
  double end_s;
  double score;
  int32_t class_index;
  int32_t reserved; /* 0 */
} infdet_detection;

/* Properties of a bundle's network. Set struct_size to sizeof(infdet_info) before the call. */
typedef struct infdet_info {
  size_t struct_size;
  int32_t size;        /* height and width of the network's input frames, pixels */
  int32_t class_count; /* classes have indices from 0 */
  int32_t min_frames;  /* length of the shortest clip */
  int32_t recognition; /* 1: names the action of a trimmed clip; 0: detects actions with start and end */
  const char *name;    /* the bundle's name, UTF-8, valid as long as the model */
  double fps;          /* frames per second of the training clips; 0 if unknown */
  double frame_rate;   /* frames per second that the library interpolates to; 0 if it does not */
  int32_t counts;      /* 1: background levels, so infdet_push16 works; 0: 8-bit frames only */
} infdet_info;

/* INFDET_ABI_VERSION of the loaded library. */
INFDET_API uint32_t infdet_abi_version(void);

/* Version of the library, such as "0.1.0". */
INFDET_API const char *infdet_version(void);

/* Message of this thread's last failed call, or "". Valid until this thread's next call. */
INFDET_API const char *infdet_last_error(void);

/* Fill the first `struct_size` bytes of the options with defaults. infdet_default_options() calls it. */
INFDET_API infdet_status infdet_init_options(infdet_options *options, size_t struct_size);

static inline infdet_options infdet_default_options(void) {
  infdet_options options;
  infdet_init_options(&options, sizeof options);
  return options;
}

/* Check every file of a bundle and compile its stages. `options` may be null. Close the model with infdet_close. */
INFDET_API infdet_status infdet_open(const char *bundle, const infdet_options *options, infdet_model **model);

/* Close a model. Null does nothing. */
INFDET_API infdet_status infdet_close(infdet_model *model);

/* Fill `info`. */
INFDET_API infdet_status infdet_describe(const infdet_model *model, infdet_info *info);

/* Name of a class, UTF-8, valid as long as the model. Null, with an error, if there is no such class. */
INFDET_API const char *infdet_class_name(const infdet_model *model, int32_t class_index);

/* The score above which a class counts, 0 to 1. */
INFDET_API infdet_status infdet_threshold(const infdet_model *model, int32_t class_index, double *threshold);

/* Detections of a whole clip, sorted by class, then time.
   frames: uint8 [count, height, width]. fps: frames per second.
   *found: array of *found_count detections; free it with infdet_free_detections. Null if there are none. */
INFDET_API infdet_status infdet_detect(const infdet_model *model, const uint8_t *frames, size_t count, size_t height,
                                       size_t width, double fps, infdet_detection **found, size_t *found_count);

/* Free an array from infdet_detect. Null does nothing. Freeing an array twice is an error. */
INFDET_API infdet_status infdet_free_detections(infdet_detection *found);

/* Open a stream of frames that ends, such as a recording, at `fps` frames per second. It gives the same detections as
   infdet_detect. Close it with infdet_close_stream. */
INFDET_API infdet_status infdet_open_stream(const infdet_model *model, double fps, infdet_stream **stream);

#define INFDET_WINDOW_S 120.0
#define INFDET_EVERY_SNIPPETS 4

/* Open an endless stream of frames, such as a camera's, on a model opened with options.live. It gives the detections of
   `infdet-deploy watch`: each is reported once, as soon as it is final.
   fps: frames per second; a detection's time multiplied by fps is a frame number (unless frames have times).
   window_s: seconds of history that the network sees, such as INFDET_WINDOW_S; more needs more memory.
   every_snippets: how often the network runs, in snippets of 8 frames, such as INFDET_EVERY_SNIPPETS. */
INFDET_API infdet_status infdet_open_live(const infdet_model *model, double fps, double window_s,
                                          int32_t every_snippets, infdet_stream **stream);

/* Append frames, uint8 [count, height, width]; they are copied. All frames of a stream must have the same size. After
   every chunk_snippets * 8 frames (live: 32) the call computes, which takes time; other calls only copy. Results do not
   depend on how many frames a call passes. */
INFDET_API infdet_status infdet_push(infdet_stream *stream, const uint8_t *frames, size_t count, size_t height,
                                     size_t width);

/* As infdet_push, with the time of each frame.
   times_s: double [count], finite seconds on any clock; times do not decrease. Bundles with background levels or a frame
   rate use them; with other bundles they are only checked. With a frame rate, a frame that is not later than the one
   before is left out, and the stream's fps is not used. Give either all frames of a stream times or none: without times,
   frames lie 1/fps apart. If frames are missing, flush the stream and open another one. */
INFDET_API infdet_status infdet_push_timed(infdet_stream *stream, const uint8_t *frames, size_t count, size_t height,
                                           size_t width, const double *times_s);

/* As infdet_push_timed, for frames of a thermal camera: uint16, in hundredths of a kelvin. times_s may be null. All
   frames of a stream must have the same type. Only for bundles with background levels: others map the range of a whole
   recording to 8 bits, which the caller must do before infdet_push. */
INFDET_API infdet_status infdet_push16(infdet_stream *stream, const uint16_t *frames, size_t count, size_t height,
                                       size_t width, const double *times_s);

/* A frame of a camera's driver. Set struct_size to sizeof(infdet_frame). */
typedef struct infdet_frame {
  size_t struct_size;
  const void *pixels; /* grey, row by row */
  int32_t bits;       /* 8: uint8, 0 to 255; 16: uint16, see infdet_push16 */
  size_t height, width;
  size_t row_bytes;   /* from one row to the next; 0: rows without padding */
  double time_s;      /* as in infdet_push_timed; NaN: none */
} infdet_frame;

/* Append one frame, as infdet_push, infdet_push_timed and infdet_push16 do. */
INFDET_API infdet_status infdet_push_frame(infdet_stream *stream, const infdet_frame *frame);

/* Called while a push or a flush computes, after every chunk, with the number of snippets of 8 frames done so far. It
   may take some time, but must not call the library with this stream. A result other than 0 stops the call with
   INFDET_ABORTED. */
typedef int32_t (*infdet_progress)(void *context, size_t snippets);

/* Set the callback of a stream; null: none. */
INFDET_API infdet_status infdet_set_progress(infdet_stream *stream, infdet_progress progress, void *context);

/* End the stream and compute the remaining detections. Then poll them. */
INFDET_API infdet_status infdet_flush(infdet_stream *stream);

/* The scores of a flushed stream of infdet_open_stream: float [*snippets, class_count], 0 to 1, valid as long as the
   stream. INFDET_NOTHING before the flush and for live streams. */
INFDET_API infdet_status infdet_scores(infdet_stream *stream, const float **scores, size_t *snippets);

/* The next detection, or INFDET_NOTHING. A stream has detections after infdet_flush, sorted by class, then time; a live
   stream may have some after any infdet_push. */
INFDET_API infdet_status infdet_poll(infdet_stream *stream, infdet_detection *detection);

/* As infdet_class_name, for the network of a stream, whose model may be closed; valid as long as the stream. */
INFDET_API const char *infdet_stream_class_name(const infdet_stream *stream, int32_t class_index);

/* Close a stream, flushed or not. Null does nothing. */
INFDET_API infdet_status infdet_close_stream(infdet_stream *stream);

/* Resize frames as the library does before the network.
   frames: uint8 [count, height, width]. mode: "resize" (whole picture) or "crop" (centre).
   resized: the caller's buffer, uint8 [count, size, size]. */
INFDET_API infdet_status infdet_resize(const uint8_t *frames, size_t count, size_t height, size_t width, size_t size,
                                       const char *mode, uint8_t *resized);

#ifdef __cplusplus
}
#endif

#endif
