/*
 * bench_activation_bits.c - what activations of fewer bits would cost: a model's numbers are rounded to int8 with a
 * scale for every so many columns before they become the 15-bit integers that products take.
 *
 *     bench_activation_bits MODEL TEXT [WINDOWS] [COLUMNS ...]
 *
 * MODEL: a container, for only matrices in strips and rans take integers.  KLD against the same file with 15 bits.
 * COLUMNS are those of a scale; 0: of the whole token.  Predictions of 15 bits lie in MODEL.predictions meanwhile.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "kernels/kernels.h"

enum { INT8_MOST = 127, MAX_PATH = 4096 };

static uint32_t n_scale_cols;
static void (*quantize_15_bits)(const float *, float, size_t, int8_t *, int8_t *, int32_t *);

static void round_group(const float *x, size_t n, float *out)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    float step = most / INT8_MOST;
    for (size_t i = 0; i < n; i++)
        out[i] = step > 0.0f ? rintf(x[i] / step) * step : 0.0f;
}

static void quantize_rounded(const float *x, float inverse, size_t n_units, int8_t *high,
                             int8_t *low, int32_t *sums)
{
    size_t n = n_units * EN_UNIT_COLS, each = n_scale_cols == 0 ? n : n_scale_cols;
    float *rounded = en_alloc(n, sizeof *rounded);
    if (rounded == NULL)
        abort();
    for (size_t i = 0; i < n; i += each)
        round_group(x + i, n - i < each ? n - i : each, rounded + i);
    quantize_15_bits(rounded, inverse, n_units, high, low, sums);
    en_free(rounded);
}

/* The library's table is written once and read by all; here it is written between runs. */
static void round_activations(bool on)
{
    en_kernels *table = (en_kernels *)(uintptr_t)en_kernels_get();
    table->quantize_planes = on ? quantize_rounded : quantize_15_bits;
}

typedef struct bench {
    entro_model *model;
    char *text;
    size_t n_text;
    entro_divergence_options opt;
} bench;

static entro_status print_row(const bench *b, const char *name, entro_error *err)
{
    entro_divergence_report r;
    EN_TRY(entro_divergence(b->model, b->model, b->text, b->n_text, &b->opt, &r, err));
    printf("| %s | %.6f ± %.6f | %.4f | %.2f %% |\n", name, r.kld, r.kld_error, r.kld_99,
           100.0 * r.same_top);
    fflush(stdout);
    return ENTRO_OK;
}

static entro_status run(bench *b, int n_groups, char **groups, entro_error *err)
{
    printf("| a scale for | KLD | 99 %% | same top |\n| --- | ---: | ---: | ---: |\n");
    quantize_15_bits = en_kernels_get()->quantize_planes;
    EN_TRY(print_row(b, "the token, 15 bits", err)); /* and keeps its predictions */
    b->opt.overwrite_cache = false;
    round_activations(true);
    entro_status status = ENTRO_OK;
    for (int i = 0; i < n_groups && status == ENTRO_OK; i++) {
        n_scale_cols = (uint32_t)strtoul(groups[i], NULL, 10);
        status = print_row(b, n_scale_cols == 0 ? "the token" : groups[i], err);
    }
    round_activations(false);
    return status;
}

int main(int argc, char **argv)
{
    static char *usual[] = {"0", "1536", "512", "256", "128", "64"};
    char predictions[MAX_PATH];
    bench b = {0};
    entro_error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_activation_bits MODEL TEXT [WINDOWS] [COLUMNS ...]\n");
        return 2;
    }
    snprintf(predictions, sizeof predictions, "%s.predictions", argv[1]);
    entro_divergence_options_init(&b.opt);
    b.opt.n_windows = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 4;
    b.opt.cache = predictions;
    b.opt.overwrite_cache = true;
    entro_status status = en_file_read(&b.text, &b.n_text, argv[2], SIZE_MAX / 2, &err);
    if (status == ENTRO_OK)
        status = entro_model_open(&b.model, argv[1], NULL, &err);
    if (status == ENTRO_OK)
        status = argc > 4 ? run(&b, argc - 4, argv + 4, &err)
                          : run(&b, sizeof usual / sizeof *usual, usual, &err);
    remove(predictions);
    if (status != ENTRO_OK)
        fprintf(stderr, "bench_activation_bits: %s\n", err.message);
    entro_model_close(b.model);
    en_free(b.text);
    return status == ENTRO_OK ? 0 : 1;
}
