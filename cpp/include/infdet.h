/* infdet: timed actions in infrared recordings, from a bundle that infdet-deploy exported. No Python, no PyTorch.

     infdet_model *model = NULL;
     infdet_options options = infdet_default_options();
     if (infdet_open("tiny-1.infdet", &options, &model) != INFDET_OK) {
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

   Frames are grey, uint8, 0 to 255, row after row without gaps, of any height and width; the library brings them to the
   size that the network takes. At least 16 are needed.

   Status: every function that can fail returns one; infdet_last_error() says in one line what came, what was expected
   and what to do. No C++ exception leaves the library and nothing in it ends the process. What a failed call was to
   write stays as it was.

   Handles: a model or a stream is a number in the shape of a pointer, never given twice. A closed one, or any other
   pointer, is refused with INFDET_ERROR_HANDLE. A stream keeps its model in memory, so either may be closed first.

   Threads: any function may be called from any thread. One model serves many threads at once, each with its own
   stream or infdet_detect; calls on one stream wait for one another. Closing waits for no one: calls that are under way
   finish. */
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

/* Raised when a program compiled with an older header could not go on working; it is the library's SOVERSION too. */
#define INFDET_ABI_VERSION 1

typedef struct infdet_model infdet_model;
typedef struct infdet_stream infdet_stream;

typedef enum infdet_status {
  INFDET_OK = 0,
  INFDET_NOTHING = 1,        /* infdet_poll: no detection is waiting */
  INFDET_ERROR_ARGUMENT = 2, /* a null pointer, a value out of range, an unknown option */
  INFDET_ERROR_HANDLE = 3,   /* a model or stream that is closed, or never was open */
  INFDET_ERROR_BUNDLE = 4,   /* missing, changed, incomplete, or written by a newer version */
  INFDET_ERROR_BACKEND = 5,  /* not in this build, refuses a stage, or failed while computing */
  INFDET_ERROR_FRAMES = 6,   /* too few frames, or of another size than those before */
  INFDET_ERROR_STATE = 7,    /* a push or flush after the flush, or after a failure */
  INFDET_ERROR_MEMORY = 8,   /* no memory left */
  INFDET_ERROR_INTERNAL = 9  /* a fault of the library; please report it */
} infdet_status;

/* How a bundle is opened. Fill it with infdet_default_options(), then change what is to be different. */
typedef struct infdet_options {
  size_t struct_size;     /* set by infdet_default_options; says which fields the program knows */
  const char *backend;    /* "openvino" (default) or "tensorrt", where the library was built with it */
  const char *precision;  /* "float32" (default), "bfloat16", "float16" or "int8", as the bundle holds; on x86
                             OpenVINO's int8 needs VNNI */
  int32_t chunk_snippets; /* snippets of 8 frames computed at once, 1 to 4096; 32 by default. Fewer take less memory */
  int32_t threads;        /* processor threads that a backend may use; 0, the default, leaves it to the backend */
  int32_t live;           /* 1: for infdet_open_live alone; the bundle was exported with --stream. 0, the default: for
                             infdet_detect and infdet_open_stream */
} infdet_options;

/* One action: times in seconds from the first frame; score 0 to 1. */
typedef struct infdet_detection {
  double start_s;
  double end_s;
  double score;
  int32_t class_index;
  int32_t reserved; /* 0 */
} infdet_detection;

/* What the bundle says of its network. Set struct_size to sizeof(infdet_info) before the call. */
typedef struct infdet_info {
  size_t struct_size;
  int32_t size;        /* height and width in pixels of the frames that the network takes */
  int32_t class_count; /* classes are numbered from 0 */
  int32_t min_frames;  /* the shortest clip */
  int32_t recognition; /* 1 where the network names the one action of a trimmed clip, 0 where it finds timed ones */
} infdet_info;

/* INFDET_ABI_VERSION of the library that is loaded. */
INFDET_API uint32_t infdet_abi_version(void);

/* Version of the library, such as "0.1.0". */
INFDET_API const char *infdet_version(void);

/* What went wrong in this thread's last call that failed; "" where none did. Valid until this thread's next call. */
INFDET_API const char *infdet_last_error(void);

/* Fill as much of the options as a program knows: `struct_size` bytes. infdet_default_options() calls it. */
INFDET_API infdet_status infdet_init_options(infdet_options *options, size_t struct_size);

static inline infdet_options infdet_default_options(void) {
  infdet_options options;
  infdet_init_options(&options, sizeof options);
  return options;
}

/* Check a bundle whole and compile its stages. `options` may be null. The caller closes the model. */
INFDET_API infdet_status infdet_open(const char *bundle, const infdet_options *options, infdet_model **model);

/* Give the model back. Null is allowed and does nothing. */
INFDET_API infdet_status infdet_close(infdet_model *model);

INFDET_API infdet_status infdet_describe(const infdet_model *model, infdet_info *info);

/* Name of a class, UTF-8. The text belongs to the model and lives as long; null, with an error, for no such class. */
INFDET_API const char *infdet_class_name(const infdet_model *model, int32_t class_index);

/* Detections of a whole clip, by class, then time.
   frames: uint8 [count, height, width]; fps: frames a second.
   *found: an array of *found_count, which the caller gives to infdet_free_detections. */
INFDET_API infdet_status infdet_detect(const infdet_model *model, const uint8_t *frames, size_t count, size_t height,
                                       size_t width, double fps, infdet_detection **found, size_t *found_count);

/* Give an array of infdet_detect back. Null is allowed; one given back before is refused. */
INFDET_API infdet_status infdet_free_detections(infdet_detection *found);

/* Start a stream of frames that ends, such as a recording; fps: frames a second. The caller closes it. Its detections
   are those of infdet_detect. */
INFDET_API infdet_status infdet_open_stream(const infdet_model *model, double fps, infdet_stream **stream);

#define INFDET_WINDOW_S 120.0
#define INFDET_EVERY_SNIPPETS 4

/* Start a stream of frames that need not end, such as a camera's, of a model opened with options.live. Detections are
   those of `infdet-deploy watch`: each comes once, as soon as it is certain, and is never revised.
   fps: frames a second; a detection's time times fps is the number of its frame.
   window_s: seconds that the network looks back over, such as INFDET_WINDOW_S; the memory of a stream grows with it.
   every_snippets: how often it looks, in snippets of 8 frames, such as INFDET_EVERY_SNIPPETS. */
INFDET_API infdet_status infdet_open_live(const infdet_model *model, double fps, double window_s,
                                          int32_t every_snippets, infdet_stream **stream);

/* Append frames uint8 [count, height, width], which are copied. All frames of a stream have one size. Every
   chunk_snippets * 8 frames, of a live stream every 32, the call computes and takes as long as that takes; other calls
   only copy. How frames are divided among calls makes no difference. */
INFDET_API infdet_status infdet_push(infdet_stream *stream, const uint8_t *frames, size_t count, size_t height,
                                     size_t width);

/* End the stream: compute what is left, and the detections that are still to come. Then poll them. */
INFDET_API infdet_status infdet_flush(infdet_stream *stream);

/* The next detection, or INFDET_NOTHING. They come after infdet_flush, by class, then time; of a live stream after any
   infdet_push. */
INFDET_API infdet_status infdet_poll(infdet_stream *stream, infdet_detection *detection);

/* Give the stream back, flushed or not. Null is allowed and does nothing. */
INFDET_API infdet_status infdet_close_stream(infdet_stream *stream);

/* The library's own preparation of frames, as a bundle does it.
   frames: uint8 [count, height, width]; mode: "resize" (whole picture) or "crop" (its centre);
   resized: the caller's uint8 [count, size, size]. */
INFDET_API infdet_status infdet_resize(const uint8_t *frames, size_t count, size_t height, size_t width, size_t size,
                                       const char *mode, uint8_t *resized);

#ifdef __cplusplus
}
#endif

#endif
