/* A C firmware that runs a network on eight cores of QEMU's machine virt: one feeds, the others
 * are clusters of three and four. Prints the checksum that `pipeit run --noise 8` prints, and
 * exits with 0. */
#include <stddef.h>
#include <stdint.h>

#include "noise.h"
#include "pipeit.h"

enum { CORES = 8, FRAMES = 8 };

extern char __free_start[], __free_end[], __loaded_start[], __loaded_end[];
extern void secondary_start(uint64_t core);

/* Ends the program, by semihosting. */
void finish(uint64_t code)
{
    uint64_t block[2] = { 0x20026, code };
    register uint64_t operation __asm__("x0") = 0x20;
    register uint64_t *parameters __asm__("x1") = block;
    __asm__ volatile("hlt #0xf000" : "+r"(operation) : "r"(parameters) : "memory");
    for (;;) {}
}

static void print(const char *text)
{
    volatile uint32_t *const port = (volatile uint32_t *)0x09000000;
    while (*text)
        *port = (uint8_t)*text++;
}

static void print_hex(uint32_t number)
{
    char text[9] = "";
    for (int i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15];
    print(text);
}

static void check(pipeit_status status, const char *what)
{
    if (status != PIPEIT_STATUS_OK) {
        print(what);
        print(": ");
        print(pipeit_status_text(status));
        print("\n");
        finish(1);
    }
}

/* PSCI's CPU_ON. */
static int64_t start_core(uint64_t core)
{
    register uint64_t function __asm__("x0") = 0xc4000003;
    register uint64_t affinity __asm__("x1") = core;
    register uint64_t entry __asm__("x2") = (uintptr_t)secondary_start;
    register uint64_t argument __asm__("x3") = core;
    __asm__ volatile("hvc #0" : "+r"(function), "+r"(affinity), "+r"(entry), "+r"(argument)
                     : : "memory");
    return (int32_t)function;
}

static pipeit *pipeline;

static void feed(void)
{
    uint64_t seed = NOISE_SEED, frame;
    uint32_t checksum = 0;
    size_t count;
    for (unsigned sent = 0, received = 0; received < FRAMES;) {
        if (sent < FRAMES && pipeit_acquire(pipeline, 0, &frame) == PIPEIT_STATUS_OK) {
            int8_t *codes;
            for (uint32_t i = 0; !pipeit_input(pipeline, frame, i, &codes, &count); i++)
                for (size_t k = 0; k < count; k++)
                    codes[k] = noise(&seed);
            check(pipeit_submit(pipeline, frame, NULL), "submit");
            sent++;
            continue;
        }
        const int8_t *codes;
        check(pipeit_poll(pipeline, UINT64_MAX, &frame, NULL), "poll");
        for (uint32_t i = 0; !pipeit_output(pipeline, frame, i, &codes, &count); i++)
            checksum = crc32(checksum, codes, count);
        check(pipeit_release(pipeline, frame), "release");
        received++;
    }
    print("frames 8, hash ");
    print_hex(checksum);
    print("\n");
}

/* Every core begins here. The first feeds the pipeline, the others run it. */
void core_main(uint64_t core)
{
    static const uint8_t clusters[] = { 3, 4 };
    if (core != 0) {
        check(pipeit_run_core(pipeline, (uint32_t)core - 1), "core");
        return;
    }
    pipeit_config config = {
        .artefact = __loaded_start,
        .artefact_bytes = (size_t)(__loaded_end - __loaded_start),
        .ram = __free_start,
        .ram_bytes = (size_t)(__free_end - __free_start),
        .cluster_cores = clusters,
        .clusters = 2,
    };
    check(pipeit_open(&config, &pipeline), "open");
    for (uint64_t other = 1; other < CORES; other++)
        if (start_core(other) != 0)
            finish(2);
    feed();
    check(pipeit_stop(pipeline), "stop");
    finish(0);
}
