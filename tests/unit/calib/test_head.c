/*
 * test_head.c - the model's end: gradients against differences, labels drawn from the softmax, slices
 * of large vocabularies, tokens without label, numbers that are none.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "calib/block.h"

typedef struct setting {
    en_hparams hp;
    en_pool *pool;
    float *norm, *output;
    uint32_t n_tokens;
    float *x, *dx, *head_in;
    double *fisher;
} setting;

static float number(uint64_t *seed)
{
    return (float)(int32_t)(test_random(seed) >> 32) * 0x1p-31f;
}

static setting prepare(uint32_t n_vocab, uint32_t n_embd, uint32_t n_tokens, uint32_t n_threads)
{
    setting s = {.hp = {.n_embd = n_embd, .n_vocab = n_vocab, .norm_epsilon = 1e-5f},
                 .n_tokens = n_tokens};
    uint64_t seed = 23;
    assert_int_equal(en_pool_new(&s.pool, n_threads, NULL), ENTRO_OK);
    s.norm = malloc(n_embd * sizeof *s.norm);
    s.output = malloc((size_t)n_vocab * n_embd * sizeof *s.output);
    s.x = malloc((size_t)n_tokens * n_embd * sizeof *s.x);
    s.dx = malloc((size_t)n_tokens * n_embd * sizeof *s.dx);
    s.head_in = malloc((size_t)n_tokens * n_embd * sizeof *s.head_in);
    s.fisher = calloc(n_vocab, sizeof *s.fisher);
    for (size_t i = 0; i < n_embd; i++)
        s.norm[i] = 1.0f + 0.3f * number(&seed);
    for (size_t i = 0; i < (size_t)n_vocab * n_embd; i++)
        s.output[i] = number(&seed);
    for (size_t i = 0; i < (size_t)n_tokens * n_embd; i++)
        s.x[i] = 2.0f * number(&seed);
    return s;
}

static void drop(setting *s)
{
    free(s->norm);
    free(s->output);
    free(s->x);
    free(s->dx);
    free(s->head_in);
    free(s->fisher);
    en_pool_free(s->pool);
}

/* Of tokens first .. first + n - 1; gradients to s->dx. */
static double run(setting *s, uint32_t first, uint32_t n, const int32_t *labels, uint64_t seed)
{
    const en_head head = {.hp = &s->hp, .norm = s->norm, .output = s->output};
    size_t at = (size_t)first * s->hp.n_embd;
    double loss = -1;
    memcpy(s->dx + at, s->x + at, n * s->hp.n_embd * sizeof *s->x);
    assert_int_equal(en_head_backward(&head, n, s->dx + at, s->head_in + at, labels, seed,
                                      s->fisher, &loss, s->pool, NULL),
                     ENTRO_OK);
    return loss;
}

/* By the definition, in double; p: the last token's probabilities. */
static double loss_of(const setting *s, const float *x, const int32_t *labels, double *p)
{
    double loss = 0;
    for (uint32_t t = 0; t < s->n_tokens; t++, x += s->hp.n_embd) {
        double squares = 0, sum = 0, of_label = 0;
        for (size_t k = 0; k < s->hp.n_embd; k++)
            squares += (double)x[k] * (double)x[k];
        double r = 1 / sqrt(squares / s->hp.n_embd + (double)s->hp.norm_epsilon);
        for (size_t i = 0; i < s->hp.n_vocab; i++) {
            double logit = 0;
            for (size_t k = 0; k < s->hp.n_embd; k++)
                logit +=
                    (double)s->output[i * s->hp.n_embd + k] * (double)x[k] * r * (double)s->norm[k];
            p[i] = exp(logit);
            sum += p[i];
            if (labels != NULL && labels[t] == (int32_t)i)
                of_label = logit;
        }
        for (size_t i = 0; i < s->hp.n_vocab; i++)
            p[i] /= sum;
        if (labels == NULL || labels[t] >= 0)
            loss += log(sum) - of_label;
    }
    return loss;
}

static void gradient_is_the_slope(void **state)
{
    (void)state;
    enum { N = 7, EMBD = 12, VOCAB = 50 };
    setting s = prepare(VOCAB, EMBD, N, 2);
    const int32_t labels[N] = {3, 0, 49, -1, 17, 17, 8};
    double p[VOCAB], loss = run(&s, 0, N, labels, 0);
    assert_true(fabs(loss - loss_of(&s, s.x, labels, p)) < 1e-5);
    for (size_t i = 0; i < (size_t)N * EMBD; i++) {
        const float step = 1.0f / 64;
        float before = s.x[i];
        s.x[i] = before + step;
        double up = loss_of(&s, s.x, labels, p);
        s.x[i] = before - step;
        double slope = (up - loss_of(&s, s.x, labels, p)) / (2 * (double)step);
        s.x[i] = before;
        assert_true(fabs(slope - (double)s.dx[i]) < 1e-4);
        if (i / EMBD == 3)
            assert_true(s.dx[i] == 0.0f); /* no label */
    }
    drop(&s);
}

/* The square of p - label has the mean p (1 - p), summed over N tokens that are all alike. */
static void labels_are_drawn_from_the_softmax(void **state)
{
    (void)state;
    enum { N = 20000, EMBD = 8, VOCAB = 30 };
    setting s = prepare(VOCAB, EMBD, N, 2);
    double p[VOCAB], entropy = 0;
    for (size_t i = EMBD; i < (size_t)N * EMBD; i++)
        s.x[i] = s.x[i % EMBD];
    uint32_t n_tokens = s.n_tokens;
    s.n_tokens = 1;
    loss_of(&s, s.x, NULL, p);
    s.n_tokens = n_tokens;
    double loss = run(&s, 0, N, NULL, 1234);
    for (size_t i = 0; i < VOCAB; i++) {
        double mean = p[i] * (1 - p[i]), spread = fabs(1 - 2 * p[i]) * sqrt(mean / N);
        assert_true(fabs(s.fisher[i] / N - mean) < 5 * spread + 1e-6);
        entropy -= p[i] * log(p[i]);
    }
    assert_true(fabs(loss / N - entropy) < 0.05); /* the labels' own surprise */
    drop(&s);
}

static void labels_depend_on_seed_and_token_only(void **state)
{
    (void)state;
    enum { N = 300, EMBD = 8, VOCAB = 200 };
    setting one = prepare(VOCAB, EMBD, N, 1), four = prepare(VOCAB, EMBD, N, 4);
    size_t n_bytes = (size_t)N * EMBD * sizeof(float);
    double loss = run(&one, 0, N, NULL, 5);
    assert_true(loss == run(&four, 0, N, NULL, 5));
    assert_memory_equal(one.dx, four.dx, n_bytes);
    assert_memory_equal(one.fisher, four.fisher, VOCAB * sizeof *one.fisher);
    run(&four, 0, N / 2, NULL, 5); /* as long as they are counted from the same token */
    for (size_t i = 0; i < (size_t)N / 2 * EMBD; i++)
        assert_true(fabsf(one.dx[i] - four.dx[i]) < 1e-5f);
    assert_true(loss != run(&four, 0, N, NULL, 6));
    drop(&one);
    drop(&four);
}

/* 2^20 rows: 64 tokens a slice. */
static void slices_are_seamless(void **state)
{
    (void)state;
    enum { N = 70, SLICE = 64, EMBD = 4, VOCAB = 1 << 20 };
    setting s = prepare(VOCAB, EMBD, N, 2);
    int32_t labels[N];
    float parts[N * EMBD];
    for (int i = 0; i < N; i++)
        labels[i] = i * 14000;
    double whole = run(&s, 0, N, labels, 0), sum = 0, sum_parts = 0;
    memcpy(parts, s.dx, sizeof parts);
    for (size_t i = 0; i < VOCAB; i++)
        sum += s.fisher[i];
    memset(s.fisher, 0, VOCAB * sizeof *s.fisher);
    double loss = run(&s, 0, 30, labels, 0) + run(&s, 30, 40, labels + 30, 0);
    for (size_t i = 0; i < VOCAB; i++)
        sum_parts += s.fisher[i];
    assert_true(fabs(loss - whole) < 1e-6 * whole);
    assert_true(fabs(sum_parts - sum) < 1e-6 * sum);
    for (int i = 0; i < N * EMBD; i++)
        assert_true(fabsf(s.dx[i] - parts[i]) < 1e-5f);
    drop(&s);
}

static void losses_of_hopeless_labels_stay_finite(void **state)
{
    (void)state;
    setting s = prepare(4, 2, 1, 1);
    const int32_t label = 3;
    for (size_t i = 0; i < 8; i++)
        s.output[i] = i < 2 ? 500.0f : i < 6 ? 0.0f : -500.0f;
    s.x[0] = s.x[1] = s.norm[0] = s.norm[1] = 1.0f; /* logits 1000, 0, 0, -1000 */
    double loss = run(&s, 0, 1, &label, 0);
    assert_true(fabs(loss - 2000) < 0.1);
    assert_true(s.fisher[0] == 1 && s.fisher[3] == 1 && s.fisher[1] == 0);
    assert_true(run(&s, 0, 1, NULL, 0) == 0); /* there is but one label to draw */
    drop(&s);
}

static void numbers_that_are_none_show_in_the_loss(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const int32_t labels[] = {1, 1};
    for (size_t i = 0; i < 3; i++) {
        setting s = prepare(64, 8, 2, 1);
        s.x[3] = bad[i];
        assert_true(isnan(run(&s, 0, 2, labels, 0)));
        assert_true(isnan(run(&s, 0, 2, NULL, 0)));
        drop(&s);
        s = prepare(64, 8, 2, 1);
        s.output[5] = bad[i];
        assert_true(isnan(run(&s, 0, 2, labels, 0)));
        assert_true(isnan(run(&s, 0, 2, NULL, 0)));
        drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_the_slope),
        cmocka_unit_test(labels_are_drawn_from_the_softmax),
        cmocka_unit_test(labels_depend_on_seed_and_token_only),
        cmocka_unit_test(slices_are_seamless),
        cmocka_unit_test(losses_of_hopeless_labels_stay_finite),
        cmocka_unit_test(numbers_that_are_none_show_in_the_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
