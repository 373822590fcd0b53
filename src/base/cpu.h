/*
 * cpu.h - which vector extensions this processor has and may use.
 */
#ifndef EN_BASE_CPU_H
#define EN_BASE_CPU_H

#include <stdint.h>

enum {
    EN_CPU_AVX2 = 1 << 0,   /* AVX2, FMA, F16C, BMI1, BMI2 */
    EN_CPU_AVX512 = 1 << 1, /* F, BW, VL, DQ, VBMI, VBMI2, VNNI */
    EN_CPU_NEON = 1 << 2,
    EN_CPU_DOTPROD = 1 << 3, /* NEON with dot products of bytes */
    EN_CPU_AMX = 1 << 4,     /* tiles of bytes, beside EN_CPU_AVX512 */
    EN_CPU_BF16 = 1 << 5,    /* products of bf16, beside EN_CPU_AVX512 */
};

/* Detected once, less what the environment variable ENTRO_CPU_DISABLE names (comma separated:
 * avx2, avx512, amx, bf16, neon, dotprod; disabling avx2 disables avx512 too, avx512 amx and bf16, and
 * neon dotprod). */
uint32_t en_cpu_features(void);

/* Processors this process may run on, at least 1. */
uint32_t en_cpu_count(void);

/* Seconds of a clock that never goes back. */
double en_clock_seconds(void);

#endif
