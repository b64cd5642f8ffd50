/* What the examples share: frames of noise, and a checksum of what comes of them. */
#ifndef NOISE_H
#define NOISE_H

#include <stddef.h>
#include <stdint.h>

static const uint64_t NOISE_SEED = 1;

/* The next code (SplitMix64). */
static int8_t noise(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return (int8_t)((mixed ^ mixed >> 31) >> 56);
}

/* CRC-32 (ISO-HDLC, as in zip) of bytes that follow others with the checksum `before`. */
static uint32_t crc32(uint32_t before, const int8_t *codes, size_t count)
{
    uint32_t crc = ~before;
    for (size_t i = 0; i < count; i++) {
        crc ^= (uint8_t)codes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

#endif
