/* kernels.c - picks each entry of the table for this processor; see kernels.h. */
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"

static en_kernels best, plain;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void en_kernels_fill(en_kernels *table, uint32_t cpu_features)
{
    *table = (en_kernels){0};
    en_kernels_init_ref(table);
    en_kernels_init_dequantize_ref(table);
    en_kernels_init_strips_ref(table);
    en_kernels_init_blocks_ref(table);
    en_kernels_init_bf16_ref(table);
    table->rans_decode = en_rans_decode;
    table->rans_encode = en_rans_encode_ref;
    table->strip_encode = en_strip_encode_ref;
    table->strip_count = en_strip_count_ref;
#if defined(__x86_64__)
    if (cpu_features & EN_CPU_AVX2) {
        en_kernels_init_avx2(table);
        en_kernels_init_strips_avx2(table);
        en_kernels_init_units_avx2(table);
        en_kernels_init_strip_lists_avx2(table);
        en_kernels_init_blocks_avx2(table);
        en_kernels_init_scaled_units_avx2(table);
        en_kernels_init_rans_avx2(table);
        en_kernels_init_rans_encode_avx2(table);
        en_kernels_init_strip_encode_avx2(table);
    }
    if (cpu_features & EN_CPU_AVX512) {
        en_kernels_init_avx512(table);
        en_kernels_init_strips_avx512(table);
        en_kernels_init_units_avx512(table);
        en_kernels_init_strip_lists_avx512(table);
        en_kernels_init_blocks_avx512(table);
        en_kernels_init_scaled_units_avx512(table);
        en_kernels_init_rans_avx512(table);
        en_kernels_init_rans_encode_avx512(table);
        en_kernels_init_strip_encode_avx512(table);
    }
    if (cpu_features & EN_CPU_AMX)
        en_kernels_init_units_amx(table);
    if (cpu_features & EN_CPU_BF16)
        en_kernels_init_tile_bf16(table);
#elif defined(__aarch64__)
    if (cpu_features & EN_CPU_NEON) {
        en_kernels_init_neon(table);
        en_kernels_init_strips_neon(table);
        en_kernels_init_blocks_neon(table);
        en_kernels_init_rans_neon(table);
    }
    if (cpu_features & EN_CPU_DOTPROD) {
        en_kernels_init_strips_dotprod(table);
        en_kernels_init_blocks_dotprod(table);
        en_kernels_init_scaled_units_dotprod(table);
    }
#endif
    (void)cpu_features; /* other processors have the reference only */
}

static atomic_bool filled;

static void fill_both(void)
{
    en_kernels_fill(&plain, 0);
    en_kernels_fill(&best, en_cpu_features());
    atomic_store_explicit(&filled, true, memory_order_release);
}

/* Asked for at every strip: pthread_once() alone was 1 % of the time of a token. */
const en_kernels *en_kernels_get(void)
{
    if (!atomic_load_explicit(&filled, memory_order_acquire))
        pthread_once(&once, fill_both);
    return &best;
}

const en_kernels *en_kernels_ref(void)
{
    pthread_once(&once, fill_both);
    return &plain;
}
