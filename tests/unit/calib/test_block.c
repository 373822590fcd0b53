/*
 * test_block.c - layers of whole sequences against the engine, against PyTorch's gradients (fixtures by
 * scripts/make_calib_fixtures.py), and what must hold of any run: threads, memory.
 */
#include "test_support.h"

#include "base/bytes.h"
#include "base/file.h"
#include "block_support.h"

/* ---- forward: the engine ----------------------------------------------------------------- */

enum { VOCAB = 96 };

static void engine_logits(const test_model *m, uint32_t n_ctx, const int32_t *tokens,
                          uint32_t n_tokens, float *logits)
{
    entro_error err = {0};
    en_decoder_state *s;
    test_must(en_decoder_state_new(&s, m->decoder, n_ctx, n_tokens, 1, ENTRO_KV_F16, &err), &err);
    test_must(en_decoder_forward(s, tokens, n_tokens, 0, EN_LOGITS_ALL, logits, &err), &err);
    en_decoder_state_free(s);
}

static double log_sum_exp(const float *x, size_t n)
{
    double hi = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        hi = fmax(hi, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - hi);
    return hi + log(sum);
}

/* Two sequences of which each must see itself only. */
static void check_forward(const char *name, uint32_t n_ctx, uint32_t n_positions)
{
    enum { SEQUENCES = 2 };
    test_model m = test_model_open(name, n_ctx, SEQUENCES, n_positions, 2);
    size_t n_embd = m.hp->n_embd;
    assert_int_equal(m.hp->n_vocab, VOCAB);
    int32_t *tokens = malloc(m.n_tokens * sizeof *tokens);
    int32_t *labels = malloc(m.n_tokens * sizeof *labels);
    float *want = malloc(m.n_tokens * VOCAB * sizeof *want);
    test_tokens(tokens, m.n_tokens, VOCAB, 41);
    test_tokens(labels, m.n_tokens, VOCAB, 42);
    test_model_forward(&m, tokens);
    double loss = test_model_loss(&m, labels, 0, NULL), want_loss = 0, worst = 0, largest = 0;
    for (uint32_t s = 0; s < SEQUENCES; s++)
        engine_logits(&m, n_ctx, tokens + s * n_positions, n_positions,
                      want + (size_t)s * n_positions * VOCAB);
    for (uint32_t t = 0; t < m.n_tokens; t++) {
        const float *row = want + (size_t)t * VOCAB;
        want_loss += log_sum_exp(row, VOCAB) - (double)row[labels[t]];
        for (size_t i = 0; i < VOCAB; i++) {
            double logit = 0;
            for (size_t k = 0; k < n_embd; k++)
                logit += (double)m.head_in[t * n_embd + k] * (double)m.output[i * n_embd + k];
            worst = fmax(worst, fabs(logit - (double)row[i]));
            largest = fmax(largest, fabs((double)row[i]));
        }
    }
    print_message("%-18s n_ctx %3u, %3u positions: logits %.1e, loss %.1e\n", name, n_ctx,
                  n_positions, worst / largest, fabs(loss - want_loss) / want_loss);
    assert_true(worst < 1e-5 * largest);
    assert_true(fabs(loss - want_loss) < 1e-6 * want_loss);
    free(tokens);
    free(labels);
    free(want);
    test_model_close(&m);
}

/* More positions than a stripe of attention has, and a length that is no multiple of anything. */
static void forward_equals_the_engine(void **state)
{
    (void)state;
    check_forward("llama", 512, 301);
    check_forward("llama-bias", 64, 61);
    check_forward("llama-linear-rope", 256, 150);
    check_forward("llama3-rope", 256, 131);
    check_forward("mistral-window", 512, 301);
    check_forward("phi3", 256, 170);
    check_forward("phi3-longrope", 32, 32);
    check_forward("phi3-longrope", 256, 140);
    check_forward("qwen2", 256, 129);
}

static void one_position_and_one_sequence_work(void **state)
{
    (void)state;
    check_forward("llama", 64, 17); /* more than the engine takes from its f16 cache */
    test_model m = test_model_open("qwen2", 64, 1, 1, 2);
    int32_t token = 5, label = 7;
    test_model_forward(&m, &token);
    double loss = test_model_loss(&m, &label, 0, NULL);
    assert_true(loss > 0 && loss < 50);
    test_model_backward(&m, NULL);
    test_model_close(&m);
}

/* ---- backward: PyTorch --------------------------------------------------------------------- */

typedef struct expected {
    char *bytes;
    uint32_t n_tokens, n_ctx, n_layers, n_first, n_rows;
    int32_t tokens[64], labels[64];
    en_reader floats; /* loss, sums, gradients */
} expected;

static expected load_expected(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/calib/%s.bin", name);
    expected e = {0};
    size_t n;
    entro_error err = {0};
    test_must(en_file_read(&e.bytes, &n, path, 1 << 20, &err), &err);
    e.floats = en_reader_of(e.bytes, n);
    e.n_tokens = en_reader_u32(&e.floats);
    e.n_ctx = en_reader_u32(&e.floats);
    e.n_layers = en_reader_u32(&e.floats);
    e.n_first = en_reader_u32(&e.floats);
    e.n_rows = en_reader_u32(&e.floats);
    assert_true(e.n_tokens <= 64);
    for (uint32_t i = 0; i < e.n_tokens; i++)
        e.tokens[i] = (int32_t)en_reader_u32(&e.floats);
    for (uint32_t i = 0; i < e.n_tokens; i++)
        e.labels[i] = (int32_t)en_reader_u32(&e.floats);
    return e;
}

static double next_float(expected *e)
{
    return (double)en_reader_f32(&e->floats);
}

/* The largest difference of n sums, relative to the largest sum. */
static double compare_sums(expected *e, const double *sums, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double want = next_float(e);
        worst = fmax(worst, fabs(sums[i] - want));
        largest = fmax(largest, want);
    }
    return worst / largest;
}

static void check_gradients(const char *name)
{
    static const char *const groups[] = {"q k v", "output", "gate up", "down"};
    expected e = load_expected(name);
    test_model m = test_model_open(name, e.n_ctx, 1, e.n_tokens, 2);
    const size_t n_embd = m.hp->n_embd, n = test_fisher_floats(m.hp);
    const size_t counts[] = {test_qkv_floats(m.hp), n_embd, 2 * (size_t)m.hp->n_ff, n_embd};
    assert_int_equal(e.n_layers, m.hp->n_layers);
    assert_int_equal(e.n_rows, n * e.n_layers + m.hp->n_vocab);
    double *sums = calloc(e.n_rows, sizeof *sums), *logits = sums + n * e.n_layers, worst = 0;

    test_model_forward(&m, e.tokens);
    double loss = test_model_loss(&m, e.labels, 0, logits), want_loss = next_float(&e);
    assert_true(fabs(loss - want_loss) < 1e-6 * want_loss);
    test_model_backward(&m, sums);
    for (uint32_t i = 0; i < e.n_layers; i++) {
        const double *at = sums + i * n;
        for (size_t g = 0; g < 4; at += counts[g], g++) {
            double error = compare_sums(&e, at, counts[g]);
            worst = fmax(worst, error);
            if (error > 2e-5)
                fail_msg("%s: layer %u, %s: %.2e", name, i, groups[g], error);
        }
    }
    assert_true(compare_sums(&e, logits, m.hp->n_vocab) < 1e-5);
    double difference = 0, largest = 0;
    for (size_t i = 0; i < e.n_first * n_embd; i++) {
        double want = next_float(&e);
        difference = fmax(difference, fabs((double)m.x[i] - want));
        largest = fmax(largest, fabs(want));
    }
    print_message("%-18s sums of squares %.1e, gradient at the input %.1e\n", name, worst,
                  difference / largest);
    assert_true(difference < 2e-5 * largest);
    assert_true(en_reader_left(&e.floats) == 0 && !e.floats.failed);
    free(sums);
    en_free(e.bytes);
    test_model_close(&m);
}

static void gradients_equal_pytorch(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",          "llama-bias", "llama-linear-rope",
                                        "llama3-rope",    "phi3",       "phi3-longrope",
                                        "mistral-window", "qwen2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_gradients(names[i]);
}

/* ---- any run ------------------------------------------------------------------------------- */

/* Everything that comes out of a run with sampled labels; free() it. */
static double *run_all(const char *name, uint32_t n_positions, uint32_t n_threads, size_t *n)
{
    test_model m = test_model_open(name, 256, 3, n_positions, n_threads);
    size_t per_layer = test_fisher_floats(m.hp), n_sums = per_layer * m.hp->n_layers + VOCAB;
    size_t n_x = (size_t)m.n_tokens * m.hp->n_embd;
    *n = n_sums + n_x + 1;
    double *all = calloc(*n, sizeof *all);
    int32_t *tokens = malloc(m.n_tokens * sizeof *tokens);
    test_tokens(tokens, m.n_tokens, VOCAB, 7);
    test_model_forward(&m, tokens);
    all[*n - 1] = test_model_loss(&m, NULL, 99, all + n_sums - VOCAB);
    test_model_backward(&m, all);
    for (size_t i = 0; i < n_x; i++)
        all[n_sums + i] = (double)m.x[i];
    free(tokens);
    test_model_close(&m);
    return all;
}

static void threads_do_not_show(void **state)
{
    (void)state;
    size_t n, n_again;
    double *one = run_all("mistral-window", 140, 1, &n);
    double *three = run_all("mistral-window", 140, 3, &n_again);
    assert_int_equal(n, n_again);
    assert_memory_equal(one, three, n * sizeof *one);
    free(one);
    free(three);
}

/* Without 'out' the tape is the same, and so are the gradients; part of a tape is enough. */
static void fills_the_tape_only(void **state)
{
    (void)state;
    entro_error err = {0};
    test_model m = test_model_open("llama-bias", 64, 2, 30, 2);
    size_t n_embd = m.hp->n_embd, n_half = (size_t)m.n_tokens / 2 * n_embd;
    float *dx = malloc(n_half * sizeof *dx), *again = malloc(n_half * sizeof *again);
    float *out = malloc(2 * n_half * sizeof *out);
    uint64_t seed = 3;
    for (size_t i = 0; i < 2 * n_half; i++)
        m.tapes[0].x[i] = (float)(test_random(&seed) >> 40) * 0x1p-23f - 1.0f;
    for (size_t i = 0; i < n_half; i++)
        dx[i] = again[i] = (float)(i % 7) - 3.0f;
    test_must(en_block_forward(m.blocks, &m.rope, m.tapes, 2, out, m.pool, &err), &err);
    test_must(en_block_backward(m.blocks, &m.rope, m.tapes, 1, dx, NULL, m.pool, &err), &err);
    test_must(en_block_forward(m.blocks, &m.rope, m.tapes, 1, NULL, m.pool, &err), &err);
    test_must(en_block_backward(m.blocks, &m.rope, m.tapes, 1, again, NULL, m.pool, &err), &err);
    for (size_t i = 0; i < n_half; i++)
        assert_true(fabsf(dx[i] - again[i]) <= 1e-5f * fmaxf(1.0f, fabsf(dx[i])));
    free(dx);
    free(again);
    free(out);
    test_model_close(&m);
}

/* The steps of a collection, from open to close, but for the pool. */
static entro_status run_once(const en_decoder *d, en_pool *pool, entro_error *err)
{
    enum { POSITIONS = 5 };
    en_rope rope = {0};
    en_block block = {0};
    en_block_tape tape = {0};
    float x[POSITIONS * 64], head_in[POSITIONS * 64], output[VOCAB * 64];
    double loss, fisher[VOCAB] = {0};
    const en_head head = {.hp = &d->hp, .norm = d->weights.output_norm, .output = output};
    entro_status status = en_rope_new(&rope, &d->hp, &d->weights, 64, POSITIONS, err);
    if (status == ENTRO_OK)
        status = en_block_new(&block, &d->hp, err);
    if (status == ENTRO_OK)
        status = en_block_load(&block, &d->weights.layers[1], pool, err);
    if (status == ENTRO_OK)
        status = en_block_tape_new(&tape, &d->hp, 1, POSITIONS, err);
    if (status == ENTRO_OK) {
        en_rope_fill(&rope, 0, POSITIONS);
        for (size_t i = 0; i < (size_t)POSITIONS * d->hp.n_embd; i++)
            tape.x[i] = (float)(i % 11) - 5.0f;
        status = en_block_forward(&block, &rope, &tape, 1, x, pool, err);
    }
    if (status == ENTRO_OK)
        status = en_matrix_load(&d->weights.output, output, pool, err);
    if (status == ENTRO_OK)
        status = en_head_backward(&head, POSITIONS, x, head_in, NULL, 1, fisher, &loss, pool, err);
    if (status == ENTRO_OK)
        status = en_block_backward(&block, &rope, &tape, 1, x, NULL, pool, err);
    en_block_tape_free(&tape);
    en_block_free(&block);
    en_rope_free(&rope);
    return status;
}

static void each_failing_allocation_leaves_nothing(void **state)
{
    (void)state;
    test_model m = test_model_open("phi3", 64, 1, 1, 2);
    assert_true(m.hp->n_embd <= 64 && m.hp->n_vocab == VOCAB);
    size_t before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    uint64_t n = 0;
    for (; n < 100 && status != ENTRO_OK; n++) {
        entro_error err = {0};
        en_memory_fail_at(n);
        status = run_once(m.decoder, m.pool, &err);
        en_memory_fail_at(UINT64_MAX);
        assert_true(status == ENTRO_OK || (status == ENTRO_ERR_NOMEM && err.message[0] != '\0'));
        assert_int_equal(en_memory_in_use(), before);
    }
    print_message("%llu allocations\n", (unsigned long long)n - 1);
    assert_true(n > 15 && n < 100);
    test_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_engine),
        cmocka_unit_test(one_position_and_one_sequence_work),
        cmocka_unit_test(gradients_equal_pytorch),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(fills_the_tape_only),
        cmocka_unit_test(each_failing_allocation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
