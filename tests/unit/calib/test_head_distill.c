/*
 * test_head_distill.c - the model's end judged by a teacher: the divergence by its definition in double, gradients
 * against differences of that, slices of large vocabularies.
 */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/block.h"

typedef struct setting {
    en_hparams hp;
    en_pool *pool;
    float *norm, *output, *x;          /* the student's */
    float *their_output, *their_input; /* the teacher's */
    float *dx;
    double *gain;
    uint32_t n_tokens;
} setting;

static float *numbers(size_t n, float size, uint64_t *seed)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = size * (float)(int32_t)(test_random(seed) >> 32) * 0x1p-31f;
    return x;
}

static setting prepare(uint32_t n_vocab, uint32_t n_embd, uint32_t n_tokens, uint32_t n_threads)
{
    setting s = {.hp = {.n_embd = n_embd, .n_vocab = n_vocab, .norm_epsilon = 1e-5f},
                 .n_tokens = n_tokens};
    uint64_t seed = 29;
    size_t n = (size_t)n_tokens * n_embd, n_output = (size_t)n_vocab * n_embd;
    assert_int_equal(en_pool_new(&s.pool, n_threads, NULL), ENTRO_OK);
    s.norm = numbers(n_embd, 1, &seed);
    s.output = numbers(n_output, 1, &seed);
    s.x = numbers(n, 2, &seed);
    s.their_output = numbers(n_output, 1, &seed);
    s.their_input = numbers(n, 1, &seed);
    s.dx = malloc(n * sizeof *s.dx);
    s.gain = calloc(n_embd, sizeof *s.gain);
    return s;
}

static void drop(setting *s)
{
    free(s->norm);
    free(s->output);
    free(s->x);
    free(s->their_output);
    free(s->their_input);
    free(s->dx);
    free(s->gain);
    en_pool_free(s->pool);
}

/* Of tokens first .. first + n - 1; gradients to s->dx and, added, to s->gain. */
static double run(setting *s, uint32_t first, uint32_t n, double *gain)
{
    const en_head head = {.hp = &s->hp, .norm = s->norm, .output = s->output};
    size_t at = (size_t)first * s->hp.n_embd;
    const en_head_teacher teacher = {s->their_output, s->their_input + at};
    double kld = -1;
    memcpy(s->dx + at, s->x + at, n * s->hp.n_embd * sizeof *s->x);
    assert_int_equal(en_head_distill(&head, &teacher, n, s->dx + at, gain, &kld, s->pool, NULL),
                     ENTRO_OK);
    return kld;
}

/* log softmax of W x, in double */
static void log_softmax(const setting *s, const float *w, const double *x, double *out)
{
    double sum = 0;
    for (size_t i = 0; i < s->hp.n_vocab; i++) {
        out[i] = 0;
        for (size_t k = 0; k < s->hp.n_embd; k++)
            out[i] += (double)w[i * s->hp.n_embd + k] * x[k];
        sum += exp(out[i]);
    }
    for (size_t i = 0; i < s->hp.n_vocab; i++)
        out[i] -= log(sum);
}

static double kld_of(const setting *s)
{
    enum { MOST = 64 };
    double kld = 0, y[MOST], theirs[MOST], p[MOST], q[MOST];
    assert_true(s->hp.n_vocab <= MOST && s->hp.n_embd <= MOST);
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        const float *x = s->x + (size_t)t * s->hp.n_embd;
        double squares = 0;
        for (size_t k = 0; k < s->hp.n_embd; k++)
            squares += (double)x[k] * (double)x[k];
        double r = 1 / sqrt(squares / s->hp.n_embd + (double)s->hp.norm_epsilon);
        for (size_t k = 0; k < s->hp.n_embd; k++) {
            y[k] = (double)x[k] * r * (double)s->norm[k];
            theirs[k] = (double)s->their_input[(size_t)t * s->hp.n_embd + k];
        }
        log_softmax(s, s->output, y, q);
        log_softmax(s, s->their_output, theirs, p);
        for (size_t i = 0; i < s->hp.n_vocab; i++)
            kld += exp(p[i]) * (p[i] - q[i]);
    }
    return kld;
}

static double slope_at(setting *s, float *value)
{
    const float step = 1.0f / 64;
    float before = *value;
    *value = before + step;
    double up = kld_of(s);
    *value = before - step;
    double slope = (up - kld_of(s)) / (2 * (double)step);
    *value = before;
    return slope;
}

static void divergence_and_gradients_follow_the_definition(void **state)
{
    (void)state;
    enum { N = 7, EMBD = 12, VOCAB = 50 };
    setting s = prepare(VOCAB, EMBD, N, 2);
    double kld = run(&s, 0, N, s.gain), want = kld_of(&s);
    assert_true(want > 1 && fabs(kld - want) < 1e-5 * want);
    for (size_t i = 0; i < (size_t)N * EMBD; i++)
        assert_true(fabs(slope_at(&s, &s.x[i]) - (double)s.dx[i]) < 2e-4);
    for (size_t i = 0; i < EMBD; i++)
        assert_true(fabs(slope_at(&s, &s.norm[i]) - s.gain[i]) < 1e-3);
    drop(&s);
}

static void without_gradients_only_the_divergence_is_computed(void **state)
{
    (void)state;
    enum { N = 5, EMBD = 12, VOCAB = 50 };
    setting s = prepare(VOCAB, EMBD, N, 2);
    double kld = run(&s, 0, N, NULL);
    assert_memory_equal(s.dx, s.x, (size_t)N * EMBD * sizeof *s.x);
    assert_true(kld == run(&s, 0, N, s.gain));
    drop(&s);
}

static void a_model_does_not_diverge_from_itself(void **state)
{
    (void)state;
    enum { N = 9, EMBD = 8, VOCAB = 40 };
    setting s = prepare(VOCAB, EMBD, N, 1);
    const en_head head = {.hp = &s.hp, .norm = s.norm, .output = s.output};
    memcpy(s.their_output, s.output, (size_t)VOCAB * EMBD * sizeof *s.output);
    en_head_norm(&head, N, s.x, s.their_input, s.pool);
    assert_true(fabs(run(&s, 0, N, s.gain)) < 1e-6);
    for (size_t i = 0; i < (size_t)N * EMBD; i++)
        assert_true(fabsf(s.dx[i]) < 1e-6f);
    drop(&s);
}

/* 2^20 rows: 64 tokens a slice. */
static void slices_are_seamless(void **state)
{
    (void)state;
    enum { N = 70, EMBD = 4, VOCAB = 1 << 20 };
    setting one = prepare(VOCAB, EMBD, N, 1), two = prepare(VOCAB, EMBD, N, 2);
    double whole = run(&one, 0, N, one.gain);
    double parts = run(&two, 0, 30, two.gain) + run(&two, 30, 40, two.gain);
    assert_true(whole > 0 && fabs(whole - parts) < 1e-6 * whole);
    for (int i = 0; i < N * EMBD; i++)
        assert_true(fabsf(one.dx[i] - two.dx[i]) < 1e-5f);
    for (int i = 0; i < EMBD; i++)
        assert_true(fabs(one.gain[i] - two.gain[i]) < 1e-5);
    drop(&one);
    drop(&two);
}

static void numbers_that_are_none_give_none(void **state)
{
    (void)state;
    setting s = prepare(20, 4, 2, 1);
    s.x[1] = NAN;
    assert_true(isnan(run(&s, 0, 2, s.gain)));
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(divergence_and_gradients_follow_the_definition),
        cmocka_unit_test(without_gradients_only_the_divergence_is_computed),
        cmocka_unit_test(a_model_does_not_diverge_from_itself),
        cmocka_unit_test(slices_are_seamless),
        cmocka_unit_test(numbers_that_are_none_give_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
