/*
 * test_drift.c - corrections of a small model's matrices against normal equations in double, out of a plain forward
 * pass of the source and of what has been quantized so far.
 */
#include "calib/drift.h"

#include <math.h>

#include "test_support.h"

#include "calib/statistics_file.h"
#include "collect_reference.h"
#include "quant/blas.h"

enum { SEQUENCES = 150, TOKENS = SEQUENCES * POSITIONS }; /* more than one batch */

static const struct {
    const char *name;
    int group, n_rows;
} matrices[] = {{"attn_q", 0, HEADS *HEAD},    {"attn_k", 0, KV_HEADS *HEAD},
                {"attn_v", 0, KV_HEADS *HEAD}, {"attn_output", 1, EMBD},
                {"ffn_gate", 2, FF},           {"ffn_up", 2, FF},
                {"ffn_down", 3, EMBD}};
enum { N_MATRICES = sizeof matrices / sizeof *matrices };

static int n_inputs(int group)
{
    return group == 3 ? FF : EMBD;
}

/* Where the reference has the matrix. */
static double *place_of(test_reference *r, int layer, int m)
{
    double *const all[N_MATRICES] = {r->layers[layer].qkv[0],
                                     r->layers[layer].qkv[HEADS * HEAD],
                                     r->layers[layer].qkv[(HEADS + KV_HEADS) * HEAD],
                                     r->layers[layer].attn_output[0],
                                     r->layers[layer].gate_up[0],
                                     r->layers[layer].gate_up[FF],
                                     r->layers[layer].ffn_down[0]};
    return all[m];
}

/* Inputs and streams of a group, all tokens. */
typedef struct seen {
    double inputs[TOKENS][FF], stream[TOKENS][EMBD];
} seen;

static seen *watch(const test_reference *r, const en_calib_text *text, int layer, int group)
{
    seen *s = calloc(1, sizeof *s);
    for (int q = 0; q < SEQUENCES; q++) {
        test_watch w = {.layer = LAYERS};
        double logits[POSITIONS][VOCAB];
        w.inputs[layer][group] = s->inputs + (ptrdiff_t)q * POSITIONS;
        w.streams[layer][group] = s->stream + (ptrdiff_t)q * POSITIONS;
        test_reference_run(r, &w, en_calib_text_sequence(text, (uint64_t)q), logits);
    }
    return s;
}

/* b (n) = a^-1 b; a, n x FF, is used up.  Symmetric and positive, so that no pivots are sought. */
static void solve(double (*a)[FF], double *b, int n)
{
    for (int k = 0; k < n; k++)
        for (int i = k + 1; i < n; i++) {
            double f = a[i][k] / a[k][k];
            for (int j = k; j < n; j++)
                a[i][j] -= f * a[k][j];
            b[i] -= f * b[k];
        }
    for (int k = n - 1; k >= 0; k--) {
        for (int j = k + 1; j < n; j++)
            b[k] -= a[k][j] * b[j];
        b[k] /= a[k][k];
    }
}

/* What drift.h says is added to a row of weights. */
static void change_of(const double *row, int out, int n, bool adds_stream, const seen *source,
                      const seen *coded, double *change)
{
    static double gram[FF][FF];
    double mean = 0;
    memset(gram, 0, sizeof gram);
    memset(change, 0, FF * sizeof *change);
    for (int t = 0; t < TOKENS; t++) {
        const double *x = source->inputs[t], *y = coded->inputs[t];
        double wanted = adds_stream ? source->stream[t][out] - coded->stream[t][out] : 0;
        for (int k = 0; k < n; k++)
            wanted += row[k] * (x[k] - y[k]);
        for (int i = 0; i < n; i++) {
            change[i] += wanted * y[i] / TOKENS;
            for (int k = 0; k < n; k++)
                gram[i][k] += y[i] * y[k] / TOKENS;
        }
    }
    for (int i = 0; i < n; i++)
        mean += gram[i][i] / n;
    for (int i = 0; i < n; i++)
        gram[i][i] += EN_DRIFT_RIDGE * mean;
    solve(gram, change, n);
    for (int i = 0; i < n; i++)
        change[i] *= (double)EN_DRIFT_BLEND;
}

static void assert_change(const float *weights, const double *before, int n_rows, int n,
                          bool adds_stream, const seen *source, const seen *coded)
{
    double change[FF], error = 0, size = 0;
    for (int i = 0; i < n_rows; i += 5) {
        change_of(before + (ptrdiff_t)i * n, i, n, adds_stream, source, coded, change);
        for (int k = 0; k < n; k++) {
            double got = (double)weights[i * n + k] - before[i * n + k];
            error += (got - change[k]) * (got - change[k]);
            size += change[k] * change[k];
        }
    }
    assert_true(size > 0 && error < 1e-5 * size);
}

static double quantized(double w)
{
    return rint(w * 16) / 16;
}

static void read_row(void *context, uint64_t row, float *out)
{
    const struct rows {
        const double *w;
        int n;
    } *r = context;
    for (int k = 0; k < r->n; k++)
        out[k] = (float)r->w[row * (uint64_t)r->n + (uint64_t)k];
}

static void take(en_drift *d, const char *name, const double *w, int n)
{
    struct rows {
        const double *w;
        int n;
    } rows = {w, n};
    en_drift_take(d, name, read_row, &rows);
}

static void correct_and_take(en_drift *d, const test_reference *source, test_reference *coded,
                             const en_calib_text *text, int layer, int m)
{
    char name[64];
    float weights[FF * FF];
    int group = matrices[m].group, n = n_inputs(group), n_rows = matrices[m].n_rows;
    double *before = malloc(FF * FF * sizeof *before), *to = place_of(coded, layer, m);
    memcpy(before, place_of((test_reference *)source, layer, m),
           (size_t)(n_rows * n) * sizeof *before);
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, matrices[m].name);
    for (int i = 0; i < n_rows * n; i++)
        weights[i] = (float)before[i];
    assert_int_equal(en_drift_correct(d, name, weights, NULL), ENTRO_OK);
    seen *of_source = watch(source, text, layer, group),
         *of_coded = watch(coded, text, layer, group);
    assert_change(weights, before, n_rows, n, group == 1 || group == 3, of_source, of_coded);
    for (int i = 0; i < n_rows * n; i++)
        to[i] = quantized((double)weights[i]);
    take(d, name, to, n);
    free(of_source);
    free(of_coded);
    free(before);
}

static en_drift *open_drift(const entro_model *model, const en_calib_text *text, en_job *job)
{
    en_drift *d;
    assert_int_equal(en_blas_open(NULL), ENTRO_OK);
    assert_int_equal(en_job_open(job, 2, NULL, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_drift_open(&d, model->decoder, text, TOKENS, job, NULL), ENTRO_OK);
    assert_int_equal(en_drift_tokens(d), TOKENS);
    return d;
}

static void changes_are_those_of_the_normal_equations(void **state)
{
    (void)state;
    en_job job;
    entro_model *model = test_open_fixture("llama");
    test_reference *source = test_reference_load(model), *coded = test_reference_load(model);
    en_calib_text text = test_collect_text(SEQUENCES + 4, 5);
    en_drift *d = open_drift(model, &text, &job);
    for (int v = 0; v < VOCAB; v++)
        for (int i = 0; i < EMBD; i++)
            coded->embd[v][i] = quantized(coded->embd[v][i]);
    take(d, "token_embd.weight", coded->embd[0], EMBD);
    for (int layer = 0; layer < LAYERS; layer++)
        for (int m = 0; m < N_MATRICES; m++)
            correct_and_take(d, source, coded, &text, layer, m);
    en_drift_close(d);
    en_job_close(&job);
    en_calib_text_free(&text);
    free(source);
    free(coded);
    en_model_close(model);
}

static void what_was_not_quantized_is_not_changed(void **state)
{
    (void)state;
    en_job job;
    entro_model *model = test_open_fixture("llama");
    test_reference *r = test_reference_load(model);
    en_calib_text text = test_collect_text(SEQUENCES, 6);
    en_drift *d = open_drift(model, &text, &job);
    float w[EMBD * FF], of_vocabulary[3] = {1, 2, 3};
    const double *before = place_of(r, 1, N_MATRICES - 1);
    for (int i = 0; i < EMBD * FF; i++)
        w[i] = (float)before[i];
    /* The first one asked for: all before it are followed as they are. */
    assert_int_equal(en_drift_correct(d, "blk.1.ffn_down.weight", w, NULL), ENTRO_OK);
    for (int i = 0; i < EMBD * FF; i++)
        assert_true((double)w[i] == before[i]);
    assert_int_equal(en_drift_correct(d, "output.weight", of_vocabulary, NULL), ENTRO_OK);
    assert_true(of_vocabulary[0] == 1 && of_vocabulary[2] == 3);
    en_drift_close(d);
    en_job_close(&job);
    en_calib_text_free(&text);
    free(r);
    en_model_close(model);
}

static bool stop_at_once(void *user, const entro_progress *p)
{
    (void)user, (void)p;
    return false;
}

static void it_can_be_cancelled_and_wants_text(void **state)
{
    (void)state;
    en_job job;
    en_drift *d;
    entro_model *model = test_open_fixture("qwen2");
    en_calib_text text = test_collect_text(2, 6);
    float w[EMBD * FF] = {0};
    assert_int_equal(en_blas_open(NULL), ENTRO_OK);
    assert_int_equal(en_job_open(&job, 1, stop_at_once, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_drift_open(&d, model->decoder, &text, 1000000, &job, NULL), ENTRO_OK);
    assert_int_equal(en_drift_tokens(d), 2 * POSITIONS); /* what there is */
    assert_int_equal(en_drift_correct(d, "blk.0.attn_q.weight", w, NULL), ENTRO_ERR_CANCELLED);
    en_drift_close(d);
    text.n_sequences = 0;
    assert_int_equal(en_drift_open(&d, model->decoder, &text, 1000, &job, NULL),
                     ENTRO_ERR_ARGUMENT);
    assert_null(d);
    en_job_close(&job);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* The last matrix, and with it all that comes before. */
static entro_status correct_last(const entro_model *model, const en_calib_text *text,
                                 entro_error *err)
{
    en_job job;
    en_drift *d;
    static float w[2 * FF * EMBD];
    EN_TRY(en_job_open(&job, 2, NULL, NULL, err));
    entro_status status = en_drift_open(&d, model->decoder, text, 16, &job, err);
    if (status == ENTRO_OK)
        status = en_drift_correct(d, "blk.1.ffn_up.weight", w, err);
    if (status == ENTRO_OK)
        status = en_drift_correct(d, "blk.1.ffn_down.weight", w, err);
    en_drift_close(d);
    en_job_close(&job);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "phi3"};
    assert_int_equal(en_blas_open(NULL), ENTRO_OK);
    for (size_t m = 0; m < 2; m++) {
        entro_model *model = test_open_fixture(names[m]);
        en_calib_text text = test_collect_text(4, 8);
        size_t n_before = en_memory_in_use();
        entro_status status = ENTRO_ERR_NOMEM;
        for (uint64_t i = 0; status != ENTRO_OK; i++) {
            entro_error err = {0};
            assert_in_range(i, 0, 5000);
            en_memory_fail_at(i);
            status = correct_last(model, &text, &err);
            en_memory_fail_at(UINT64_MAX);
            if (status != ENTRO_OK && status != ENTRO_ERR_NOMEM)
                fail_msg("allocation %u: %s: %s", (unsigned)i, err.where, err.message);
            assert_int_equal(en_memory_in_use(), n_before);
        }
        en_calib_text_free(&text);
        en_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_those_of_the_normal_equations),
        cmocka_unit_test(what_was_not_quantized_is_not_changed),
        cmocka_unit_test(it_can_be_cancelled_and_wants_text),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
