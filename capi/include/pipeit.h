/* C interface of the pipeit runtime.
 *
 *   pipeit_open -> pipeit_run_core on every core
 *               -> pipeit_acquire, pipeit_input, pipeit_submit
 *               -> pipeit_poll, pipeit_output, pipeit_release
 *   pipeit_stop -> every pipeit_run_core returns -> pipeit_close
 *
 * Memory. The library allocates nothing. The artefact and the RAM of pipeit_config stay with
 * their pipeline from pipeit_open to pipeit_close: in that time nobody else writes to either,
 * nor reads the RAM. A frame's buffers are part of that RAM; they belong to whoever holds the
 * frame: from pipeit_acquire to pipeit_submit, and from pipeit_poll to pipeit_release. A
 * pointer to an input ends with the next call for the same frame, one to an output with
 * pipeit_release.
 *
 * Threads. Any thread or core may call anything at any time, but for pipeit_open and
 * pipeit_close, during which there is no other call for that pipeline. A frame is used by one
 * thread at a time; it may be handed from thread to thread. Nothing may be called from an
 * interrupt or signal handler.
 *
 * Errors. Every call that can fail returns a pipeit_status, PIPEIT_STATUS_OK on success;
 * otherwise it has changed nothing, and what its pointers point to is as before, unless a
 * function says otherwise. Frames are numbers, which are checked: one that was given back is
 * refused.
 *
 * Without operating system the MMU and the data caches must be on, and pipeit_run_core turns
 * on the event stream of its core's timer; a core that waits elsewhere has its wait ended by
 * the events of others only, and turns it on itself for its deadlines. */


#ifndef PIPEIT_H
#define PIPEIT_H

/* Made by cbindgen of capi/src/lib.rs; not to be edited. */

#include <stddef.h>
#include <stdint.h>

/**
 * How a call went.
 */
enum pipeit_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * As asked.
   */
  PIPEIT_STATUS_OK = 0,
  /**
   * A pointer that must not be null is.
   */
  PIPEIT_STATUS_NULL_POINTER = 1,
  /**
   * A length that no memory has, or RAM and artefact overlap.
   */
  PIPEIT_STATUS_BAD_MEMORY = 2,
  /**
   * No open pipeline is at this address.
   */
  PIPEIT_STATUS_NOT_OPEN = 3,
  /**
   * The artefact does not start at a multiple of 64.
   */
  PIPEIT_STATUS_MISALIGNED = 4,
  /**
   * The artefact is cut off, damaged, or not one.
   */
  PIPEIT_STATUS_BAD_ARTEFACT = 5,
  /**
   * The artefact is of a version that this library does not read.
   */
  PIPEIT_STATUS_BAD_VERSION = 6,
  /**
   * Too little RAM; see `pipeit_ram_bytes`.
   */
  PIPEIT_STATUS_OUT_OF_MEMORY = 7,
  /**
   * More clusters or cores than the library allows for, or none.
   */
  PIPEIT_STATUS_BAD_CLUSTERS = 8,
  /**
   * No plan of the artefact fits the cores there are.
   */
  PIPEIT_STATUS_NO_PLAN = 9,
  /**
   * The library lacks kernels that the plan asks for.
   */
  PIPEIT_STATUS_NO_KERNEL = 10,
  /**
   * The machine has no such core.
   */
  PIPEIT_STATUS_NO_SUCH_CORE = 11,
  /**
   * Someone works for this core already, or has done so.
   */
  PIPEIT_STATUS_CORE_TAKEN = 12,
  /**
   * The core cannot execute the kernels it was planned for.
   */
  PIPEIT_STATUS_CANNOT_EXECUTE = 13,
  /**
   * A core did not finish its share of a layer in time; see `pipeit_failure`.
   */
  PIPEIT_STATUS_STALLED = 14,
  /**
   * A core left its work before the end; see `pipeit_failure`.
   */
  PIPEIT_STATUS_DIED = 15,
  /**
   * It could not be done in the time given.
   */
  PIPEIT_STATUS_TIMED_OUT = 16,
  /**
   * The pipeline is drained or stopped.
   */
  PIPEIT_STATUS_STOPPED = 17,
  /**
   * Cores are at work or frames held: not the time for it.
   */
  PIPEIT_STATUS_BUSY = 18,
  /**
   * The frame was submitted or released before, or never was.
   */
  PIPEIT_STATUS_STALE_FRAME = 19,
  /**
   * The frame is one of another pipeline.
   */
  PIPEIT_STATUS_FOREIGN_FRAME = 20,
  /**
   * The frame is to be filled, not read, or the other way round.
   */
  PIPEIT_STATUS_WRONG_FRAME = 21,
  /**
   * There is no input, output or stage of this index.
   */
  PIPEIT_STATUS_NO_SUCH_INDEX = 22,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pipeit_status pipeit_status;
#else
typedef int32_t pipeit_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A network at work.
 */
typedef struct pipeit pipeit;

/**
 * What a pipeline is made of.
 */
typedef struct pipeit_config {
  /**
   * The artefact, at a multiple of 64.
   */
  const void *artefact;
  /**
   * Bytes from there that may be read; what lies behind the artefact is not looked at.
   */
  size_t artefact_bytes;
  /**
   * Memory for the pipeline, of any alignment and content.
   */
  void *ram;
  /**
   * Its bytes, at least as many as `pipeit_ram_bytes` tells.
   */
  size_t ram_bytes;
  /**
   * The cores that are there, of each cluster; copied.
   */
  const uint8_t *cluster_cores;
  /**
   * How many clusters these are.
   */
  uint32_t clusters;
  /**
   * Most nanoseconds for a core's share of a layer, after which it counts as stalled; 0 for
   * a minute.
   */
  uint64_t stall_timeout_ns;
} pipeit_config;

/**
 * An input or output of the network. Its codes are one byte each, signed, in the order row,
 * column, channel; a code stands for `scale * (code - zero_point)`.
 */
typedef struct pipeit_port {
  /**
   * Rows.
   */
  uint32_t height;
  /**
   * Columns.
   */
  uint32_t width;
  /**
   * Channels.
   */
  uint32_t channels;
  /**
   * Real value of one step.
   */
  float scale;
  /**
   * The code of real zero.
   */
  int32_t zero_point;
} pipeit_port;

/**
 * What a stage has done so far, summed over its teams.
 */
typedef struct pipeit_stats {
  /**
   * Frames finished.
   */
  uint64_t frames;
  /**
   * Nanoseconds spent on frames.
   */
  uint64_t busy_ns;
  /**
   * Nanoseconds spent waiting for frames.
   */
  uint64_t starved_ns;
} pipeit_stats;

/**
 * Which core failed, and at which layer.
 */
typedef struct pipeit_failure_info {
  /**
   * How.
   */
  pipeit_status status;
  /**
   * The core.
   */
  uint32_t core;
  /**
   * The layer; 0 where the failure has none.
   */
  uint32_t layer;
} pipeit_failure_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A status in words, without a line's end; never null. Whatever number is given.
 */
const char *pipeit_status_text(int32_t status);

/**
 * Bytes of RAM for a pipeline of this artefact, whichever of its plans is chosen. Looks at
 * the artefact's header only.
 *
 * # Safety
 *
 * `artefact_bytes` bytes can be read at `artefact`.
 */
pipeit_status pipeit_ram_bytes(const void *artefact, size_t artefact_bytes, size_t *ram_bytes);

/**
 * Validates the artefact and makes a pipeline of the best of its plans that fits the cores
 * there are. Its address goes to `pipeline`; it lies in the RAM of `config`, which is the
 * pipeline's until `pipeit_close`, or the caller's again at once when this fails.
 *
 * # Safety
 *
 * What `config` points to is there, and stays as the header demands.
 */
pipeit_status pipeit_open(const struct pipeit_config *config, struct pipeit **pipeline);

/**
 * Ends a pipeline; artefact and RAM are the caller's again. `PIPEIT_STATUS_BUSY` while a core is
 * in `pipeit_run_core` or a frame is held.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null; no other call for it is under way.
 */
pipeit_status pipeit_close(struct pipeit *pipeline);

/**
 * Works for core `core`, counted through all clusters, until the pipeline stops. Every core of
 * the machine calls this once, on a thread of its own; those that the plan leaves out return
 * at once.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_run_core(const struct pipeit *pipeline, uint32_t core);

/**
 * Takes an empty frame, its number to `frame`. Waits at most `timeout_ns` nanoseconds for one:
 * 0 for not at all, `UINT64_MAX` for as long as it takes.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_acquire(const struct pipeit *pipeline, uint64_t timeout_ns, uint64_t *frame);

/**
 * As `pipeit_acquire`, but rather than wait it drops the oldest frame that no core has begun.
 * Frames that are polled later show a gap in their sequence numbers.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_acquire_newest(const struct pipeit *pipeline,
                                    uint64_t timeout_ns,
                                    uint64_t *frame);

/**
 * Tells where the codes of input `index` of a frame go, and how many there are. They hold what
 * an earlier frame left there.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_input(const struct pipeit *pipeline,
                           uint64_t frame,
                           uint32_t index,
                           int8_t **codes,
                           size_t *count);

/**
 * Sends a frame on its way; it is no longer held, even when the pipeline has stopped. Its
 * sequence number goes to `sequence`, unless that is null.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_submit(const struct pipeit *pipeline, uint64_t frame, uint32_t *sequence);

/**
 * Takes the next finished frame, in the order of submission. Waits as `pipeit_acquire` does.
 * Its sequence number goes to `sequence`, unless that is null.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_poll(const struct pipeit *pipeline,
                          uint64_t timeout_ns,
                          uint64_t *frame,
                          uint32_t *sequence);

/**
 * Tells where the codes of output `index` of a frame are, and how many.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_output(const struct pipeit *pipeline,
                            uint64_t frame,
                            uint32_t index,
                            const int8_t **codes,
                            size_t *count);

/**
 * Gives a frame back: one that was polled, or one that was acquired and is not needed.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_release(const struct pipeit *pipeline, uint64_t frame);

/**
 * Admits no more frames, and waits as `pipeit_acquire` does until all that were submitted have
 * left the last stage; they can still be polled.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_drain(const struct pipeit *pipeline, uint64_t timeout_ns);

/**
 * Ends the work: every `pipeit_run_core` returns after the stage it is at, if not before, and
 * calls that wait return. Frames under way are lost.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_stop(const struct pipeit *pipeline);

/**
 * Describes input `index` of the network.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_input_port(const struct pipeit *pipeline,
                                uint32_t index,
                                struct pipeit_port *port);

/**
 * Describes output `index` of the network.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_output_port(const struct pipeit *pipeline,
                                 uint32_t index,
                                 struct pipeit_port *port);

/**
 * Tells what stage `stage` has done so far. `PIPEIT_STATUS_NO_SUCH_INDEX` behind the last stage.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_stage_stats(const struct pipeit *pipeline,
                                 uint32_t stage,
                                 struct pipeit_stats *stats);

/**
 * Tells which core made the pipeline fail. The status there is `PIPEIT_STATUS_OK` if none did.
 *
 * # Safety
 *
 * `pipeline` is what `pipeit_open` gave, or null.
 */
pipeit_status pipeit_failure(const struct pipeit *pipeline, struct pipeit_failure_info *failure);

/**
 * A status in words, without a line's end; never null. Whatever number is given.
 */
const char *pipeit_status_text(int32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PIPEIT_H */

#ifndef __cplusplus
_Static_assert(sizeof(pipeit_status) == 4, "pipeit_status has another size in the library");
_Static_assert(sizeof(pipeit_config) == 5 * sizeof(void *) + 16, "pipeit_config has, too");
_Static_assert(sizeof(pipeit_port) == 20, "pipeit_port has, too");
_Static_assert(sizeof(pipeit_stats) == 24, "pipeit_stats has, too");
#endif
