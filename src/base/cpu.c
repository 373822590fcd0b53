/* cpu.c - see cpu.h. */
#include "base/cpu.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <entrollm/entrollm.h>

#if defined(__x86_64__)
/* Tiles are 8 KB of registers, which Linux gives to those who ask for them only. */
static bool may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* of arch_prctl */
    const unsigned tile = 1u << 24, int8 = 1u << 25;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & tile) && (d & int8) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

static uint32_t detect(void)
{
    uint32_t features = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    /* F16C is not asked for: every processor with AVX2 has it, and clang 14 has no name for it. */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        features |= EN_CPU_AVX2;
    if ((features & EN_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni"))
        features |= EN_CPU_AVX512;
    if ((features & EN_CPU_AVX512) && may_use_tiles())
        features |= EN_CPU_AMX;
    if ((features & EN_CPU_AVX512) && __builtin_cpu_supports("avx512bf16"))
        features |= EN_CPU_BF16;
#elif defined(__aarch64__)
    features |= EN_CPU_NEON; /* part of the base architecture */
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
        features |= EN_CPU_DOTPROD;
#endif
    return features;
}

/* What a name in the variable leaves out; 0: it is no name. */
static uint32_t features_of(const char *name, size_t n_name)
{
    static const struct {
        const char *name;
        uint32_t features;
    } names[] = {
        {"avx2", EN_CPU_AVX2 | EN_CPU_AVX512 | EN_CPU_AMX | EN_CPU_BF16},
        {"avx512", EN_CPU_AVX512 | EN_CPU_AMX | EN_CPU_BF16},
        {"amx", EN_CPU_AMX},
        {"bf16", EN_CPU_BF16},
        {"neon", EN_CPU_NEON | EN_CPU_DOTPROD},
        {"dotprod", EN_CPU_DOTPROD},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (n_name == strlen(names[i].name) && memcmp(name, names[i].name, n_name) == 0)
            return names[i].features;
    return 0;
}

/* The features that the variable leaves out, and its first word that is no name (NULL: none). */
static uint32_t disabled(const char **unknown, size_t *n_unknown)
{
    uint32_t features = 0;
    const char *list = getenv("ENTRO_CPU_DISABLE");
    *unknown = NULL;
    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ", ");
        uint32_t named = features_of(list, n);
        features |= named;
        if (n > 0 && named == 0 && *unknown == NULL) {
            *unknown = list;
            *n_unknown = n;
        }
        list += n + (list[n] != '\0');
    }
    return features;
}

const char *entro_cpu_unknown(size_t *n_name)
{
    const char *unknown;
    disabled(&unknown, n_name);
    return unknown;
}

uint32_t en_cpu_features(void)
{
    enum { KNOWN = 1u << 31 };
    static _Atomic uint32_t cached;
    uint32_t features = atomic_load_explicit(&cached, memory_order_relaxed);
    if (features == 0) {
        const char *unknown;
        size_t n_unknown;
        features = (detect() & ~disabled(&unknown, &n_unknown)) | KNOWN;
        atomic_store_explicit(&cached, features, memory_order_relaxed);
    }
    return features & ~(uint32_t)KNOWN;
}

const char *entro_cpu_name(void)
{
    uint32_t features = en_cpu_features();
    if (features & EN_CPU_AMX)
        return "amx avx512 avx2";
    if (features & EN_CPU_AVX512)
        return "avx512 avx2";
    if (features & EN_CPU_AVX2)
        return "avx2";
    if (features & EN_CPU_DOTPROD)
        return "dotprod neon";
    return features & EN_CPU_NEON ? "neon" : "reference";
}

uint32_t en_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}

double en_clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
