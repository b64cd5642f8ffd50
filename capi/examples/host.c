/* Runs a network on threads of an ordinary system:
 *
 *   host NET.pipeit CORES [FRAMES]      CORES such as 2+1: of each cluster
 *
 * Sends the frames of noise that `pipeit run --noise` sends and prints the same checksum. */
#define _POSIX_C_SOURCE 200112L
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "noise.h"
#include "pipeit.h"

enum { MAX_CORES = 64, MAX_CLUSTERS = 8 };

struct core {
    pthread_t thread;
    pipeit *pipeline;
    uint32_t number;
    pipeit_status status;
};

static void check(pipeit_status status, const char *what)
{
    if (status != PIPEIT_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", what, pipeit_status_text(status));
        exit(EXIT_FAILURE);
    }
}

static void *run_core(void *argument)
{
    struct core *core = argument;
    core->status = pipeit_run_core(core->pipeline, core->number);
    return NULL;
}

/* The file's bytes, at a multiple of 64. */
static void *read_file(const char *name, size_t *bytes)
{
    FILE *file = fopen(name, "rb");
    void *content = NULL;
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(name);
        exit(EXIT_FAILURE);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    if (posix_memalign(&content, 64, *bytes) != 0 || fread(content, 1, *bytes, file) != *bytes) {
        perror(name);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    return content;
}

static void fill(pipeit *pipeline, uint64_t frame, uint64_t *seed)
{
    int8_t *codes;
    size_t count;
    for (uint32_t i = 0; pipeit_input(pipeline, frame, i, &codes, &count) == PIPEIT_STATUS_OK; i++)
        for (size_t k = 0; k < count; k++)
            codes[k] = noise(seed);
}

static uint32_t take(pipeit *pipeline, uint32_t checksum)
{
    uint64_t frame;
    const int8_t *codes;
    size_t count;
    check(pipeit_poll(pipeline, UINT64_MAX, &frame, NULL), "poll");
    for (uint32_t i = 0; pipeit_output(pipeline, frame, i, &codes, &count) == PIPEIT_STATUS_OK; i++)
        checksum = crc32(checksum, codes, count);
    check(pipeit_release(pipeline, frame), "release");
    return checksum;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s NET.pipeit CORES [FRAMES]\n", argv[0]);
        return EXIT_FAILURE;
    }
    unsigned frames = argc > 3 ? (unsigned)atoi(argv[3]) : 8;

    uint8_t clusters[MAX_CLUSTERS];
    uint32_t cluster_count = 0, core_count = 0;
    for (char *next = argv[2]; *next && cluster_count < MAX_CLUSTERS; next += *next == '+') {
        clusters[cluster_count] = (uint8_t)strtoul(next, &next, 10);
        core_count += clusters[cluster_count++];
    }
    if (core_count > MAX_CORES)
        core_count = MAX_CORES;

    pipeit_config config = { .cluster_cores = clusters, .clusters = cluster_count };
    void *artefact = read_file(argv[1], &config.artefact_bytes);
    config.artefact = artefact;
    check(pipeit_ram_bytes(artefact, config.artefact_bytes, &config.ram_bytes), argv[1]);
    config.ram = malloc(config.ram_bytes);
    pipeit *pipeline = NULL;
    check(config.ram ? pipeit_open(&config, &pipeline) : PIPEIT_STATUS_OUT_OF_MEMORY, argv[1]);

    struct core cores[MAX_CORES];
    for (uint32_t i = 0; i < core_count; i++) {
        cores[i] = (struct core){ .pipeline = pipeline, .number = i };
        if (pthread_create(&cores[i].thread, NULL, run_core, &cores[i]) != 0) {
            perror("thread");
            return EXIT_FAILURE;
        }
    }

    uint64_t seed = NOISE_SEED, frame;
    uint32_t checksum = 0;
    unsigned received = 0;
    for (unsigned sent = 0; sent < frames; sent++) {
        pipeit_status status;
        while ((status = pipeit_acquire(pipeline, 0, &frame)) == PIPEIT_STATUS_TIMED_OUT) {
            checksum = take(pipeline, checksum);
            received++;
        }
        check(status, "acquire");
        fill(pipeline, frame, &seed);
        check(pipeit_submit(pipeline, frame, NULL), "submit");
    }
    for (; received < frames; received++)
        checksum = take(pipeline, checksum);

    pipeit_stats stats;
    for (uint32_t i = 0; pipeit_stage_stats(pipeline, i, &stats) == PIPEIT_STATUS_OK; i++)
        printf("stage %" PRIu32 ": %" PRIu64 " frames\n", i, stats.frames);
    printf("frames %u, hash %08" PRIx32 "\n", frames, checksum);

    check(pipeit_stop(pipeline), "stop");
    for (uint32_t i = 0; i < core_count; i++) {
        pthread_join(cores[i].thread, NULL);
        check(cores[i].status, "core");
    }
    check(pipeit_close(pipeline), "close");
    free(config.ram);
    free(artefact);
    return EXIT_SUCCESS;
}
