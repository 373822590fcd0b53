/*
 * bench_blocks.c - products of GGUF's blocks as they are stored, against the way over f32 tiles.
 *
 *   bench_blocks [COLUMNS [MEGABYTES]]      1536 columns and 64 MB: from memory; 1: from cache
 *
 * One thread; the best of several runs, in processor time, so that other programs disturb little.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

enum { MAX_TOKENS = EN_BLOCKS_MAX_VECTORS, TILE_ROWS = 32, ROUNDS = 5 };

static const uint32_t types[] = {EN_DTYPE_Q4_0, EN_DTYPE_Q4_1, EN_DTYPE_Q5_0, EN_DTYPE_Q5_1,
                                 EN_DTYPE_Q8_0, EN_DTYPE_Q4_K, EN_DTYPE_Q5_K, EN_DTYPE_Q6_K};

typedef struct example {
    uint32_t type;
    size_t n_rows, n_cols, row_bytes;
    uint8_t *rows;
    float *x, *tile, *y;
    en_block_vector vectors[MAX_TOKENS];
} example;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_blocks(const example *e, size_t n_tokens)
{
    const en_kernels *k = en_kernels_get();
    for (size_t r = 0; r < e->n_rows; r++)
        k->dot_blocks[e->type](e->rows + r * e->row_bytes, e->n_cols, e->vectors, n_tokens,
                               e->y + r * n_tokens);
}

static void run_tiles(const example *e, size_t n_tokens)
{
    const en_kernels *k = en_kernels_get();
    size_t each = n_tokens > 1 ? TILE_ROWS : 4;
    for (size_t r = 0; r + each <= e->n_rows; r += each) {
        k->dequantize[e->type](e->rows + r * e->row_bytes, e->tile, each * e->n_cols);
        k->matmul_f32(e->tile, each, e->n_cols, e->x, e->n_cols, n_tokens, e->y + r, e->n_rows);
    }
}

/* Seconds of one pass over all rows. */
static double best(void (*run)(const example *, size_t), const example *e, size_t n_tokens)
{
    double least = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        run(e, n_tokens);
        double seconds = now() - start;
        least = seconds < least ? seconds : least;
    }
    return least;
}

static void *allocate(size_t n_bytes)
{
    void *p = calloc(n_bytes, 1);
    if (p == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", n_bytes);
        exit(1);
    }
    return p;
}

static void make(example *e, size_t n_bytes)
{
    uint64_t row_bytes = 0;
    en_dtype_bytes(e->type, e->n_cols, &row_bytes);
    e->row_bytes = (size_t)row_bytes;
    e->n_rows = n_bytes / e->row_bytes;
    e->rows = allocate(e->n_rows * e->row_bytes);
    for (size_t i = 0; i < e->n_rows * e->row_bytes; i++) /* f16 stay finite */
        e->rows[i] = (uint8_t)(i * 2654435761u >> 13) & 0x3f;
    e->x = allocate(MAX_TOKENS * e->n_cols * sizeof(float));
    e->tile = allocate(TILE_ROWS * e->n_cols * sizeof(float));
    e->y = allocate(MAX_TOKENS * e->n_rows * sizeof(float));
    for (int v = 0; v < MAX_TOKENS; v++) {
        int8_t *planes = allocate(2 * e->n_cols);
        memset(planes, 5 + v, 2 * e->n_cols);
        e->vectors[v] = (en_block_vector){planes, planes + e->n_cols, e->x, e->x};
    }
}

static void discard(example *e)
{
    for (int v = 0; v < MAX_TOKENS; v++)
        free((void *)e->vectors[v].high);
    free(e->rows);
    free(e->x);
    free(e->tile);
    free(e->y);
}

static void report(example *e)
{
    double n = (double)e->n_rows * (double)e->n_cols * 1e-9;
    printf("%-5s", en_dtype_get(e->type)->name);
    for (size_t tokens = 1; tokens <= MAX_TOKENS; tokens *= 2) {
        double blocks = best(run_blocks, e, tokens), tiles = best(run_tiles, e, tokens);
        printf("  %6.1f %6.1f", n * (double)tokens / blocks, n * (double)tokens / tiles);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    size_t n_cols = argc > 1 ? strtoull(argv[1], NULL, 10) : 1536;
    size_t n_bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) << 20;
    if (n_cols == 0 || n_cols % 256 != 0 || n_bytes == 0) {
        fprintf(stderr, "usage: bench_blocks [COLUMNS (a multiple of 256) [MEGABYTES]]\n");
        return 2;
    }
    printf("G products/s: blocks, tiles of f32; %zu columns, %zu MB\n", n_cols, n_bytes >> 20);
    printf("type         1 token       2 tokens       4 tokens       8 tokens\n");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        example e = {.type = types[i], .n_cols = n_cols};
        make(&e, n_bytes);
        report(&e);
        discard(&e);
    }
    return 0;
}
