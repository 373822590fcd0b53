/*
 * bench_block.c - speed of the calibration's forward and backward passes, in GFLOP/s beside those of
 * BLAS alone, with products of f32 and, where the processor has it, of bf16.
 *
 *   bench_block [SEQUENCES [POSITIONS]]        default: 4 of 512
 *
 * One layer and the head of a model of 1.5 B weights (Qwen2.5's shape), random numbers.  Products only
 * are counted, also those of attention.  "/cpu": per second of processor time, for busy machines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "quant/blas.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "calib/block.h"
#include "calib/gram.h"

enum { EMBD = 1536, FF = 8960, HEADS = 12, KV_HEADS = 2, DIM = 128, VOCAB = 151936, RUNS = 3 };
enum { Q = HEADS * DIM, QKV = Q + 2 * KV_HEADS * DIM, LAYERS = 28, TOKENS_WANTED = 8192 };
enum { HEAD_TOKENS = 441 }; /* what goes into a slice */

typedef struct clocks {
    double wall, cpu;
} clocks;

static clocks now(void)
{
    struct timespec t;
    struct rusage u;
    clock_gettime(CLOCK_MONOTONIC, &t);
    getrusage(RUSAGE_SELF, &u);
    return (clocks){(double)t.tv_sec + 1e-9 * (double)t.tv_nsec,
                    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                        1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec)};
}

static float *random_floats(size_t n, float scale)
{
    float *x = en_alloc_huge(n, sizeof *x);
    uint32_t s = 12345;
    if (x == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++, s = s * 1664525u + 1013904223u)
        x[i] = scale * ((float)(s >> 8) * 0x1p-23f - 1.0f);
    return x;
}

typedef struct setting {
    uint32_t n_sequences, n_positions;
    size_t n_tokens, n_head_tokens;
    en_hparams hp;
    en_layer layer;
    en_block block;
    en_block_tape tape;
    en_rope rope;
    en_head head;
    en_pool *pool;
    float *x, *head_in;
    double *sums;
    float *sums_of_inputs;
} setting;

static void check(entro_status status)
{
    if (status != ENTRO_OK)
        exit(1);
}

static void prepare(setting *s)
{
    s->n_tokens = (size_t)s->n_sequences * s->n_positions;
    s->n_head_tokens = s->n_tokens < HEAD_TOKENS ? s->n_tokens : HEAD_TOKENS;
    s->hp = (en_hparams){.arch = &en_arch_qwen2,
                         .n_layers = 1,
                         .n_embd = EMBD,
                         .n_heads = HEADS,
                         .n_kv_heads = KV_HEADS,
                         .n_head_dim = DIM,
                         .n_rot = DIM,
                         .n_ff = FF,
                         .n_vocab = VOCAB,
                         .norm_epsilon = 1e-6f,
                         .rope = {.base = 1e6f, .linear_factor = 1.0f}};
    float *gain = random_floats(EMBD, 1.0f);
    s->layer =
        (en_layer){.attn_norm = gain, .ffn_norm = gain, .qkv_bias = random_floats(QKV, 1.0f)};
    s->block = (en_block){.hp = &s->hp,
                          .layer = &s->layer,
                          .qkv = random_floats((size_t)QKV * EMBD, 0.05f),
                          .attn_output = random_floats((size_t)EMBD * Q, 0.05f),
                          .gate_up = random_floats((size_t)2 * FF * EMBD, 0.05f),
                          .ffn_down = random_floats((size_t)EMBD * FF, 0.02f)};
    s->head =
        (en_head){.hp = &s->hp, .norm = gain, .output = random_floats((size_t)VOCAB * EMBD, 0.05f)};
    s->x = random_floats(s->n_tokens * EMBD, 1.0f);
    s->head_in = random_floats(s->n_tokens * EMBD, 0.0f);
    s->sums = calloc(VOCAB, sizeof *s->sums);
    s->sums_of_inputs = random_floats((size_t)FF * FF, 0.0f);
    const en_weights none = {0};
    check(en_pool_new(&s->pool, 0, NULL));
    check(en_block_tape_new(&s->tape, &s->hp, s->n_sequences, s->n_positions, NULL));
    check(en_rope_new(&s->rope, &s->hp, &none, s->n_positions, s->n_positions, NULL));
    en_rope_fill(&s->rope, 0, s->n_positions);
    for (size_t i = 0; i < s->n_tokens * EMBD; i++)
        s->tape.x[i] = s->x[i];
}

/* ---- what is measured -------------------------------------------------------------------- */

/* The layer's largest product by itself: gate and up. */
static void blas(setting *s)
{
    en_blas_get()->sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)s->n_tokens, 2 * FF,
                         EMBD, 1.0f, s->tape.x, EMBD, s->block.gate_up, EMBD, 0.0f, s->tape.gate_up,
                         2 * FF);
}

/* The inputs of a layer's down-projection. */
static void covariance(setting *s)
{
    int before = en_blas_take();
    en_gram(s->tape.ffn_out, FF, s->n_tokens, FF, s->tape.precision, false, s->sums_of_inputs,
            s->pool);
    en_blas_give_back(before);
}

static void forward(setting *s)
{
    check(en_block_forward(&s->block, &s->rope, &s->tape, s->n_sequences, s->x, s->pool, NULL));
}

static void forward_tape(setting *s)
{
    check(en_block_forward(&s->block, &s->rope, &s->tape, s->n_sequences, NULL, s->pool, NULL));
}

static void backward(setting *s)
{
    en_block_sums f = {
        .qkv = s->sums, .attn_output = s->sums, .gate_up = s->sums, .ffn_down = s->sums};
    check(
        en_block_backward(&s->block, &s->rope, &s->tape, s->n_sequences, s->x, &f, s->pool, NULL));
}

static void head(setting *s)
{
    double loss;
    check(en_head_backward(&s->head, (uint32_t)s->n_head_tokens, s->x, s->head_in, NULL, 1, s->sums,
                           &loss, s->pool, NULL));
}

/* Returns the least seconds of processor time a token. */
static double measure(setting *s, const char *what, void (*fn)(setting *), double flop_a_token)
{
    double n_tokens = (double)(fn == head ? s->n_head_tokens : s->n_tokens);
    clocks least = {1e9, 1e9};
    for (int i = 0; i < RUNS; i++) {
        if (fn == backward) /* which uses the tape up */
            forward_tape(s);
        clocks begin = now();
        fn(s);
        clocks end = now();
        least.wall = end.wall - begin.wall < least.wall ? end.wall - begin.wall : least.wall;
        least.cpu = end.cpu - begin.cpu < least.cpu ? end.cpu - begin.cpu : least.cpu;
    }
    double gflop = 1e-9 * flop_a_token * n_tokens;
    printf("%-14s %8.1f GFLOP/s %8.1f /cpu %8.3f s %8.3f cpu\n", what, gflop / least.wall,
           gflop / least.cpu, least.wall, least.cpu);
    fflush(stdout);
    return least.cpu / n_tokens;
}

static void measure_passes(setting *s, en_precision precision)
{
    double attention = 2.0 * Q * (s->n_positions + 1) / 2; /* of one of its products, causal */
    double down = 2.0 * FF * EMBD, all = 2.0 * EMBD * (QKV + Q + 2.0 * FF) + down;
    s->tape.precision = s->head.precision = precision;
    printf("-- %s\n", precision == EN_PRECISION_BF16 ? "bf16" : "f32");
    double a_token = LAYERS * measure(s, "forward", forward, all + 2 * attention);
    a_token += LAYERS * measure(s, "forward, tape", forward_tape, all - down + 2 * attention);
    a_token += LAYERS * measure(s, "backward", backward, all + 5 * attention);
    a_token += measure(s, "head", head, 4.0 * VOCAB * EMBD);
    measure(s, "covariance", covariance, (double)FF * FF); /* half of it is wanted */
    printf("%d layers, %d tokens: forward, forward for the tape, backward, head: %.0f s of one "
           "core\n",
           LAYERS, TOKENS_WANTED, a_token * TOKENS_WANTED);
}

int main(int argc, char **argv)
{
    static setting s = {.n_sequences = 4, .n_positions = 512};
    if (argc > 1)
        s.n_sequences = (uint32_t)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        s.n_positions = (uint32_t)strtoul(argv[2], NULL, 10);
    if (s.n_sequences == 0 || s.n_positions == 0) {
        fprintf(stderr, "usage: bench_block [SEQUENCES [POSITIONS]]\n");
        return 2;
    }
    prepare(&s);
    printf("%u sequences of %u, %u threads, OpenBLAS for %s\n", s.n_sequences, s.n_positions,
           en_pool_n_threads(s.pool), entro_cpu_name());
    measure(&s, "sgemm", blas, 2.0 * 2 * FF * EMBD);
    int before = en_blas_get()->get_num_threads();
    en_blas_get()->set_num_threads(1);
    measure(&s, "sgemm, 1 core", blas, 2.0 * 2 * FF * EMBD);
    en_blas_get()->set_num_threads(before);
    measure_passes(&s, EN_PRECISION_F32);
    if (en_cpu_features() & EN_CPU_BF16)
        measure_passes(&s, EN_PRECISION_BF16);
    return 0;
}
