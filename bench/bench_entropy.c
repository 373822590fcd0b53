/*
 * bench_entropy.c - size and speed of the "Huffman words" coding, one core, beside zstd's Huffman on
 * the same bytes.
 *
 *   bench_entropy [MODEL.gguf | folder]
 *
 * Synthetic normal codes of 5.6 and 1.4 bits; with a model, also its matrices quantized literally
 * (one scale and offset a tensor) to 8 and 4 bits.  'stored' counts everything: table, stream
 * lengths, padding.  Segments are decoded to a buffer that stays in cache; times are the best of
 * several rounds.  zstd is made to find no matches, so only its Huffman coder works, on blocks of
 * 128 KiB; 4-bit codes are given to it in pairs, the best it can do with them.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "entropy/code.h"
#include "formats/source.h"

#ifdef HAVE_ZSTD
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#endif

enum { SEGMENT = 32768, ROUNDS = 9, ZSTD_BLOCK = 128 << 10, SYNTHETIC = 4 << 20 };
static const uint64_t most_weights = 24 << 20; /* of a model */

typedef struct figures {
    uint64_t n_symbols;
    double entropy_bits, stored_bits, zstd_bits;                                       /* sums */
    double build_s, load_s, count_s, encode_s, decode_s, zstd_encode_s, zstd_decode_s; /* sums */
    unsigned n_tables;
} figures;

static double g_mark;

static void tick(void)
{
    g_mark = en_clock_seconds();
}

static void tock(double *best)
{
    double s = en_clock_seconds() - g_mark;
    *best = *best == 0 || s < *best ? s : *best;
}

/* ---- zstd -------------------------------------------------------------------------------- */

#ifdef HAVE_ZSTD
static void measure_zstd(figures *f, unsigned alphabet, const uint8_t *symbols, size_t n)
{
    size_t n_bytes = alphabet == 16 ? n / 2 : n, n_blocks = n_bytes / ZSTD_BLOCK + 1;
    size_t bound = ZSTD_compressBound(ZSTD_BLOCK), total = 0;
    uint8_t *bytes = en_alloc(n_bytes + 1, 1), *packed = en_alloc(n_blocks, bound);
    uint8_t *out = en_alloc(ZSTD_BLOCK, 1);
    size_t *sizes = en_alloc_zero(n_blocks, sizeof *sizes);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!bytes || !packed || !out || !sizes || !c || !d)
        goto done;
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] =
            alphabet == 16 ? (uint8_t)(symbols[2 * i] << 4 | symbols[2 * i + 1]) : symbols[i];
    /* Steps so wide that the match finder looks almost nowhere, and literals always coded. */
    ZSTD_CCtx_setParameter(c, ZSTD_c_strategy, ZSTD_fast);
    ZSTD_CCtx_setParameter(c, ZSTD_c_targetLength, ZSTD_TARGETLENGTH_MAX);
    ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, 7);
    ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
    double encode = 0, decode = 0;
    for (int round = 0; round < ROUNDS; round++) {
        tick();
        for (size_t i = 0, at = 0; at < n_bytes; i++, at += ZSTD_BLOCK)
            sizes[i] = ZSTD_compress2(c, packed + i * bound, bound, bytes + at,
                                      n_bytes - at < ZSTD_BLOCK ? n_bytes - at : ZSTD_BLOCK);
        tock(&encode);
        tick();
        for (size_t i = 0, at = 0; at < n_bytes; i++, at += ZSTD_BLOCK)
            if (ZSTD_isError(ZSTD_decompressDCtx(d, out, ZSTD_BLOCK, packed + i * bound, sizes[i])))
                fprintf(stderr, "zstd failed\n");
        tock(&decode);
    }
    for (size_t i = 0; i < n_blocks; i++)
        total += sizes[i];
    f->zstd_bits += 8.0 * (double)total;
    f->zstd_encode_s += encode;
    f->zstd_decode_s += decode;
done:
    ZSTD_freeCCtx(c);
    ZSTD_freeDCtx(d);
    en_free(bytes);
    en_free(packed);
    en_free(out);
    en_free(sizes);
}
#endif

/* ---- ours -------------------------------------------------------------------------------- */

typedef struct coded {
    uint8_t *bytes;
    size_t *sizes;
    size_t bound;
} coded;

static size_t segment_symbols(size_t n, size_t at)
{
    return n - at < SEGMENT ? n - at : SEGMENT;
}

static bool measure_rounds(figures *f, const en_code *code, const en_code *loaded, coded *to,
                           const uint8_t *symbols, size_t n, uint8_t *out)
{
    double encode = 0, decode = 0;
    bool ok = true;
    for (int round = 0; round < ROUNDS; round++) {
        tick();
        for (size_t i = 0, at = 0; at < n; i++, at += SEGMENT)
            to->sizes[i] = en_code_encode(code, symbols + at, segment_symbols(n, at),
                                          to->bytes + i * to->bound);
        tock(&encode);
        tick();
        for (size_t i = 0, at = 0; at < n; i++, at += SEGMENT)
            ok = en_code_decode(loaded, to->bytes + i * to->bound, to->sizes[i], out,
                                segment_symbols(n, at)) &&
                 ok;
        tock(&decode);
    }
    for (size_t i = 0, at = 0; at < n; i++, at += SEGMENT) {
        f->stored_bits += 8.0 * (double)to->sizes[i];
        ok = en_code_decode(loaded, to->bytes + i * to->bound, to->sizes[i], out,
                            segment_symbols(n, at)) &&
             memcmp(out, symbols + at, segment_symbols(n, at)) == 0 && ok;
    }
    f->encode_s += encode;
    f->decode_s += decode;
    return ok;
}

static bool measure_words(figures *f, unsigned alphabet, const uint8_t *symbols, size_t n)
{
    en_histogram *h = NULL;
    en_code *code = NULL, *loaded = NULL;
    uint8_t *table = NULL, *out = en_alloc(SEGMENT + EN_CODE_OUT_SLACK, 1);
    coded to = {0};
    bool ok = false;
    if (!out || en_histogram_new(&h, alphabet, NULL) != ENTRO_OK)
        goto done;
    double count = 0, load = 0;
    for (int round = 0; round < ROUNDS; round++) {
        en_histogram_clear(h);
        tick();
        for (size_t at = 0; at < n; at += SEGMENT)
            en_histogram_add(h, symbols + at, segment_symbols(n, at));
        tock(&count);
    }
    double build = 0;
    tick();
    if (en_code_build(&code, h, NULL) != ENTRO_OK)
        goto done;
    tock(&build);
    size_t table_bytes = en_code_stored_bytes(code);
    to.bound = en_code_encode_bound(code, SEGMENT) + EN_CODE_IN_PAD;
    to.bytes = en_alloc_zero(n / SEGMENT + 1, to.bound);
    to.sizes = en_alloc(n / SEGMENT + 1, sizeof *to.sizes);
    table = en_alloc(table_bytes, 1);
    if (!to.bytes || !to.sizes || !table)
        goto done;
    en_code_store(code, table);
    tick();
    if (en_code_load(&loaded, alphabet, table, table_bytes, NULL) != ENTRO_OK)
        goto done;
    tock(&load);
    ok = measure_rounds(f, code, loaded, &to, symbols, n, out);
    f->n_symbols += n;
    f->n_tables++;
    f->stored_bits += 8.0 * (double)table_bytes;
    f->entropy_bits += en_histogram_entropy(h) * (double)n;
    f->count_s += count;
    f->build_s += build;
    f->load_s += load;
done:
    en_histogram_free(h);
    en_code_free(code);
    en_code_free(loaded);
    en_free(to.bytes);
    en_free(to.sizes);
    en_free(table);
    en_free(out);
    if (!ok)
        fprintf(stderr, "coding failed or did not give the symbols back\n");
    return ok;
}

static bool measure(figures *f, unsigned alphabet, const uint8_t *symbols, size_t n)
{
    if (!measure_words(f, alphabet, symbols, n))
        return false;
#ifdef HAVE_ZSTD
    measure_zstd(f, alphabet, symbols, n);
#endif
    return true;
}

static void print_head(void)
{
    printf("%-26s %7s %7s %7s | %7s %7s %7s | %6s %6s | %7s %6s %6s\n", "codes", "entropy",
           "stored", "over", "decode", "encode", "count", "build", "load", "zstd", "decode",
           "encode");
    printf("%-26s %7s %7s %7s | %7s %7s %7s | %6s %6s | %7s %6s %6s\n", "", "bits", "bits", "%",
           "G/s", "G/s", "G/s", "us", "us", "bits", "G/s", "G/s");
}

static void print_figures(const char *name, const figures *f)
{
    double n = (double)f->n_symbols;
    printf("%-26s %7.4f %7.4f %+7.2f | %7.2f %7.2f %7.2f | %6.0f %6.0f |", name,
           f->entropy_bits / n, f->stored_bits / n, 100 * (f->stored_bits / f->entropy_bits - 1),
           n / f->decode_s / 1e9, n / f->encode_s / 1e9, n / f->count_s / 1e9,
           f->build_s * 1e6 / f->n_tables, f->load_s * 1e6 / f->n_tables);
    if (f->zstd_decode_s > 0)
        printf(" %7.4f %6.2f %6.2f\n", f->zstd_bits / n, n / f->zstd_decode_s / 1e9,
               n / f->zstd_encode_s / 1e9);
    else
        printf(" not built with zstd\n");
}

/* ---- what is coded ----------------------------------------------------------------------- */

static uint64_t g_random = 88172645463325252u;

static double uniform(void)
{
    g_random ^= g_random << 13;
    g_random ^= g_random >> 7;
    g_random ^= g_random << 17;
    return ((double)(g_random >> 11) + 0.5) * 0x1p-53;
}

/* Normal codes of this standard deviation around the middle of the alphabet. */
static bool bench_normal(const char *name, unsigned alphabet, double sigma)
{
    uint8_t *symbols = en_alloc(SYNTHETIC, 1);
    figures f = {0};
    if (!symbols)
        return false;
    for (size_t i = 0; i < SYNTHETIC; i++) {
        double x = sigma * sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
        double code = nearbyint(x + alphabet / 2.0);
        symbols[i] = (uint8_t)fmin(fmax(code, 0), alphabet - 1.0);
    }
    bool ok = measure(&f, alphabet, symbols, SYNTHETIC);
    if (ok)
        print_figures(name, &f);
    en_free(symbols);
    return ok;
}

static void quantize(const float *w, size_t n, unsigned alphabet, uint8_t *symbols)
{
    float low = w[0], high = w[0];
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    float scale = high > low ? (float)(alphabet - 1) / (high - low) : 0;
    for (size_t i = 0; i < n; i++)
        symbols[i] = (uint8_t)fminf(nearbyintf((w[i] - low) * scale), (float)(alphabet - 1));
}

static bool bench_model(const char *path, unsigned alphabet)
{
    en_source *source;
    entro_error err;
    if (en_source_open(&source, path, &err) != ENTRO_OK) {
        fprintf(stderr, "%s: %s\n", err.where, err.message);
        return false;
    }
    figures f = {0};
    double worst = 0;
    char worst_name[64] = "";
    bool ok = true;
    for (uint32_t i = 0; ok && i < en_source_n_tensors(source) && f.n_symbols < most_weights; i++) {
        const en_tensor *t = en_source_tensor(source, i);
        size_t n = (size_t)(t->dims[0] * t->dims[1]);
        if (t->n_dims != 2 || n > most_weights)
            continue;
        float *w = en_alloc(n, sizeof *w);
        uint8_t *symbols = en_alloc(n, 1);
        ok = w && symbols && en_source_read_rows(source, t, 0, t->dims[1], w, &err) == ENTRO_OK;
        figures one = f;
        if (ok) {
            quantize(w, n, alphabet, symbols);
            ok = measure(&f, alphabet, symbols, n);
            double over = (f.stored_bits - one.stored_bits) / (f.entropy_bits - one.entropy_bits);
            if (over > worst) {
                worst = over;
                snprintf(worst_name, sizeof worst_name, "%.63s", t->name);
            }
        }
        en_free(w);
        en_free(symbols);
    }
    en_source_close(source);
    if (ok && f.n_symbols > 0) {
        print_figures(alphabet == 16 ? "model, u4 a tensor" : "model, u8 a tensor", &f);
        printf("  %u tensors, %.1f M weights; worst tensor %+.2f %% (%s)\n", f.n_tables,
               (double)f.n_symbols / 1e6, 100 * (worst - 1), worst_name);
    }
    return ok;
}

int main(int argc, char **argv)
{
    print_head();
    bool ok =
        bench_normal("normal, 5.6 bits", 256, 11.75) &&
        bench_normal("normal, 4.0 bits", 256, 3.88) && bench_normal("normal, 2.0 bits", 16, 0.95) &&
        bench_normal("normal, 1.4 bits", 16, 0.60) && bench_normal("normal, 1.1 bits", 16, 0.47);
    if (argc > 1)
        ok = ok && bench_model(argv[1], 256) && bench_model(argv[1], 16);
    return ok ? 0 : 1;
}
