/*
 * test_collect.c - statistics of a small model against a plain forward pass in double, and against
 * differences of it; and that a run that was stopped goes on to the same files.
 *
 * The expectation over labels of a squared gradient is the curvature of the divergence: when output i of a
 * matrix moves by d at one token, sum over tokens of KL(p || p') = 1/2 F_i d^2.
 */
#include "calib/collect.h"

#include <math.h>
#include <sys/stat.h>

#include "test_support.h"

#include "calib/statistics.h"
#include "calib/statistics_file.h"
#include "engine/engine.h"
#include "gguf_support.h"

enum {
    EMBD = 32,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD = 8,
    FF = 64,
    VOCAB = 96,
    LAYERS = 2,
    POSITIONS = 8
};
enum { QKV = (HEADS + 2 * KV_HEADS) * HEAD };

/* ---- the fixture "llama", in double ----------------------------------------------------------- */

typedef struct reference {
    double embd[VOCAB][EMBD], output_norm[EMBD];
    struct {
        double attn_norm[EMBD], ffn_norm[EMBD];
        double qkv[QKV][EMBD], attn_output[EMBD][EMBD], gate_up[2 * FF][EMBD], ffn_down[EMBD][FF];
    } layers[LAYERS];
} reference;

/* What is added to one number, and inputs that are written down. */
typedef struct watch {
    int layer, group; /* layer -1: the embedding */
    int row, position;
    double delta;
    double (*inputs[LAYERS][EN_LAYER_GROUPS])[FF]; /* [position][input]; NULL: not wanted */
    double (*output_in)[FF];
} watch;

static entro_model *open_model(const char *path)
{
    entro_model *model = NULL;
    entro_error err = {0};
    if (en_model_open(&model, path, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

static entro_model *open_fixture(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    return open_model(path);
}

static void read_matrix(const entro_model *model, const char *name, double *out)
{
    const en_tensor *t = en_source_find(model->source, name);
    assert_non_null(t);
    size_t n = (size_t)en_tensor_n_elems(t);
    float *w = malloc(n * sizeof *w);
    assert_int_equal(en_source_read_rows(model->source, t, 0, en_tensor_n_rows(t), w, NULL),
                     ENTRO_OK);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)w[i];
    free(w);
}

static reference *load_reference(const entro_model *model)
{
    reference *r = malloc(sizeof *r);
    read_matrix(model, "token_embd.weight", r->embd[0]);
    read_matrix(model, "output_norm.weight", r->output_norm);
    for (int i = 0; i < LAYERS; i++) {
        const struct {
            const char *name;
            double *to;
        } parts[] = {{"attn_norm", r->layers[i].attn_norm},
                     {"ffn_norm", r->layers[i].ffn_norm},
                     {"attn_q", r->layers[i].qkv[0]},
                     {"attn_k", r->layers[i].qkv[HEADS * HEAD]},
                     {"attn_v", r->layers[i].qkv[(HEADS + KV_HEADS) * HEAD]},
                     {"attn_output", r->layers[i].attn_output[0]},
                     {"ffn_gate", r->layers[i].gate_up[0]},
                     {"ffn_up", r->layers[i].gate_up[FF]},
                     {"ffn_down", r->layers[i].ffn_down[0]}};
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, parts[k].name);
            read_matrix(model, name, parts[k].to);
        }
    }
    return r;
}

static void norm(const double *x, const double *gain, double *out)
{
    double sum = 0;
    for (int i = 0; i < EMBD; i++)
        sum += x[i] * x[i] / EMBD;
    for (int i = 0; i < EMBD; i++)
        out[i] = x[i] / sqrt(sum + 1e-5) * gain[i];
}

/* One group's product at one position. */
static void multiply(const watch *w, int layer, int group, int position, const double *weights,
                     int n_out, int n_in, const double *x, double *y)
{
    if (w->inputs[layer][group] != NULL)
        memcpy(w->inputs[layer][group][position], x, (size_t)n_in * sizeof *x);
    for (int i = 0; i < n_out; i++) {
        y[i] = 0;
        for (int k = 0; k < n_in; k++)
            y[i] += weights[i * n_in + k] * x[k];
    }
    if (w->layer == layer && w->group == group && w->position == position)
        y[w->row] += w->delta;
}

static void rotate(double *head, int position) /* pairs (0, 1), (2, 3) ... */
{
    for (int i = 0; i < HEAD / 2; i++) {
        double angle = position * pow(10000, -2.0 * i / HEAD), a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * cos(angle) - b * sin(angle);
        head[2 * i + 1] = a * sin(angle) + b * cos(angle);
    }
}

static void attend(double (*qkv)[QKV], int t, double *out)
{
    for (int h = 0; h < HEADS; h++) {
        int kv = h / (HEADS / KV_HEADS);
        double p[POSITIONS], sum = 0;
        for (int s = 0; s <= t; s++) {
            double dot = 0;
            for (int i = 0; i < HEAD; i++)
                dot += qkv[t][h * HEAD + i] * qkv[s][(HEADS + kv) * HEAD + i];
            sum += p[s] = exp(dot / sqrt(HEAD));
        }
        for (int i = 0; i < HEAD; i++) {
            out[h * HEAD + i] = 0;
            for (int s = 0; s <= t; s++)
                out[h * HEAD + i] += p[s] / sum * qkv[s][(HEADS + KV_HEADS + kv) * HEAD + i];
        }
    }
}

static void run_layer(const reference *r, const watch *w, int l, double (*x)[EMBD])
{
    double qkv[POSITIONS][QKV], in[FF], y[2 * FF];
    for (int t = 0; t < POSITIONS; t++) {
        norm(x[t], r->layers[l].attn_norm, in);
        multiply(w, l, 0, t, r->layers[l].qkv[0], QKV, EMBD, in, qkv[t]);
        for (int h = 0; h < HEADS + KV_HEADS; h++)
            rotate(qkv[t] + h * HEAD, t);
    }
    for (int t = 0; t < POSITIONS; t++) {
        attend(qkv, t, in);
        multiply(w, l, 1, t, r->layers[l].attn_output[0], EMBD, EMBD, in, y);
        for (int i = 0; i < EMBD; i++)
            x[t][i] += y[i];
        norm(x[t], r->layers[l].ffn_norm, in);
        multiply(w, l, 2, t, r->layers[l].gate_up[0], 2 * FF, EMBD, in, y);
        for (int i = 0; i < FF; i++)
            in[i] = y[i] / (1 + exp(-y[i])) * y[FF + i];
        multiply(w, l, 3, t, r->layers[l].ffn_down[0], EMBD, FF, in, y);
        for (int i = 0; i < EMBD; i++)
            x[t][i] += y[i];
    }
}

/* Logarithms of probabilities. */
static void run(const reference *r, const watch *w, const int32_t *tokens, double (*out)[VOCAB])
{
    double x[POSITIONS][EMBD], in[FF];
    for (int t = 0; t < POSITIONS; t++)
        memcpy(x[t], r->embd[tokens[t]], sizeof x[t]);
    if (w->layer < 0)
        x[w->position][w->row] += w->delta;
    for (int l = 0; l < LAYERS; l++)
        run_layer(r, w, l, x);
    for (int t = 0; t < POSITIONS; t++) {
        double sum = 0;
        norm(x[t], r->output_norm, in);
        if (w->output_in != NULL)
            memcpy(w->output_in[t], in, sizeof in);
        for (int v = 0; v < VOCAB; v++) {
            out[t][v] = 0;
            for (int i = 0; i < EMBD; i++)
                out[t][v] += r->embd[v][i] * in[i];
            sum += exp(out[t][v]);
        }
        for (int v = 0; v < VOCAB; v++)
            out[t][v] -= log(sum);
    }
}

/* ---- text and runs ----------------------------------------------------------------------------- */

static en_calib_text make_text(uint64_t n_sequences, uint64_t seed)
{
    en_calib_text text = {.n_positions = POSITIONS, .n_sequences = n_sequences, .name = "random"};
    text.tokens = en_alloc((size_t)n_sequences * POSITIONS, sizeof *text.tokens);
    for (uint64_t i = 0; i < n_sequences * POSITIONS; i++) /* low ids are frequent */
        text.tokens[i] =
            (int32_t)((test_random(&seed) >> 40) % VOCAB * (test_random(&seed) >> 40 & 1));
    return text;
}

typedef struct stopping {
    int n_calls, n_until; /* -1: never */
    uint64_t last;
} stopping;

static bool count_call(void *user, const entro_progress *p)
{
    stopping *s = user;
    assert_string_equal(p->stage, "statistics");
    assert_string_equal(p->unit, "tok");
    assert_true(p->done >= s->last && p->done <= p->total);
    s->last = p->done;
    return s->n_until < 0 || s->n_calls++ < s->n_until;
}

static entro_status collect(const char *folder, const entro_model *model, const en_calib_text *text,
                            uint64_t n_tokens, uint64_t n_fisher, uint32_t n_threads, int n_until,
                            entro_error *err)
{
    en_job job;
    stopping stop = {.n_until = n_until};
    en_collect_options opt = {.n_tokens = n_tokens, .n_fisher_tokens = n_fisher, .seed = 1};
    assert_int_equal(en_job_open(&job, n_threads, count_call, &stop, NULL), ENTRO_OK);
    entro_status status = en_statistics_collect(folder, model->decoder, text, &opt, &job, err);
    if (status == ENTRO_OK && stop.n_calls > 0)
        assert_int_equal(stop.last, job.state.total);
    assert_string_equal(job.state.unit, "B");
    en_job_close(&job);
    return status;
}

static void collect_well(const char *folder, const entro_model *model, const en_calib_text *text,
                         uint64_t n_tokens, uint64_t n_fisher, uint32_t n_threads)
{
    entro_error err = {0};
    if (collect(folder, model, text, n_tokens, n_fisher, n_threads, -1, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
}

static void remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(folder);
}

static const char *const file_names[] = {"fisher.gguf",        "gradients-000.gguf",
                                         "gradients-001.gguf", "layer-000.gguf",
                                         "layer-001.gguf",     "output.gguf"};

static void assert_same_files(const char *a, const char *b)
{
    for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++) {
        char path[2][512];
        uint8_t *bytes[2];
        size_t n[2];
        for (int k = 0; k < 2; k++) {
            snprintf(path[k], sizeof path[k], "%s/%s", k ? b : a, file_names[i]);
            bytes[k] = test_file_read(path[k], &n[k]);
        }
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
    }
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void assert_covariance(const float *h, const double *sums, size_t n, double n_tokens)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            double size = sqrt(sums[i * FF + i] * sums[k * FF + k]) / n_tokens;
            double want = sums[i * FF + k] / n_tokens;
            assert_true(fabs((double)h[i * n + k] - want) <= 3e-4 * size);
        }
}

static void add_squares(double *sums, double (*x)[FF], size_t n)
{
    for (int t = 0; t < POSITIONS; t++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                sums[i * FF + k] += x[t][i] * x[t][k];
}

static void covariances_are_those_of_the_inputs(void **state)
{
    (void)state;
    enum { N_SEQUENCES = 300, N_SITES = LAYERS * EN_LAYER_GROUPS + 1 }; /* more than one batch */
    entro_model *model = open_fixture("llama");
    reference *r = load_reference(model);
    en_calib_text text = make_text(N_SEQUENCES + 10, 3);
    const char *folder = test_path("calib");
    collect_well(folder, model, &text, N_SEQUENCES * POSITIONS, 80, 2);
    double(*inputs)[POSITIONS][FF] = calloc(N_SITES, sizeof *inputs);
    double *sums = calloc(N_SITES * FF * FF, sizeof *sums);
    watch w = {.layer = LAYERS, .output_in = inputs[N_SITES - 1]};
    for (int s = 0; s + 1 < N_SITES; s++)
        w.inputs[s / EN_LAYER_GROUPS][s % EN_LAYER_GROUPS] = inputs[s];
    for (uint64_t q = 0; q < N_SEQUENCES; q++) {
        double logits[POSITIONS][VOCAB];
        run(r, &w, en_calib_text_sequence(&text, q), logits);
        for (int s = 0; s < N_SITES; s++)
            add_squares(sums + (size_t)s * FF * FF, inputs[s], s % 4 == 3 ? FF : EMBD);
    }
    en_statistics *stats;
    static const char *const names[] = {"attn_k", "attn_output", "ffn_gate", "ffn_down"};
    float h[FF * FF], f[2 * FF];
    uint64_t n_tokens;
    assert_int_equal(en_statistics_open(&stats, folder, model->decoder, NULL, NULL), ENTRO_OK);
    for (int s = 0; s + 1 < N_SITES; s++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", s / 4, names[s % 4]);
        assert_int_equal(en_statistics_of(stats, name, h, f, &n_tokens, NULL), ENTRO_OK);
        assert_int_equal(n_tokens, N_SEQUENCES * POSITIONS);
        assert_covariance(h, sums + (size_t)s * FF * FF, s % 4 == 3 ? FF : EMBD, (double)n_tokens);
    }
    en_statistics_close(stats);
    char *path = en_statistics_path(folder, EN_STATISTICS_OUTPUT, 0);
    en_statistics_file file;
    assert_int_equal(en_statistics_file_open(&file, path, EN_STATISTICS_OUTPUT, 0, NULL), ENTRO_OK);
    assert_int_equal(
        en_statistics_file_covariance(&file, EN_OUTPUT_COVARIANCE, EMBD, h, NULL, NULL), ENTRO_OK);
    assert_covariance(h, sums + (size_t)(N_SITES - 1) * FF * FF, EMBD, N_SEQUENCES * POSITIONS);
    en_statistics_file_close(&file);
    en_free(path);
    free(inputs);
    free(sums);
    free(r);
    remove_folder(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* The mean over the text's tokens of F of one number. */
static double curvature(const reference *r, watch w, const en_calib_text *text)
{
    double sum = 0;
    for (uint64_t q = 0; q < text->n_sequences; q++) {
        double base[POSITIONS][VOCAB], moved[POSITIONS][VOCAB];
        watch nothing = {.layer = LAYERS};
        run(r, &nothing, en_calib_text_sequence(text, q), base);
        for (w.position = 0; w.position < POSITIONS; w.position++) {
            run(r, &w, en_calib_text_sequence(text, q), moved);
            for (int t = 0; t < POSITIONS; t++)
                for (int v = 0; v < VOCAB; v++)
                    sum += exp(base[t][v]) * (base[t][v] - moved[t][v]);
        }
    }
    return 2 * sum / (w.delta * w.delta) / (double)(text->n_sequences * POSITIONS);
}

/* Of one block a matrix: the importances are its diagonal, and no row says more of another than that
 * allows. */
static void assert_gradients(const en_statistics *stats, const char *name, const float *importance)
{
    float g[FF * FF];
    uint64_t n_tokens;
    size_t n = strstr(name, "ffn_up") || strstr(name, "ffn_gate") ? FF
               : strstr(name, "attn_k") || strstr(name, "attn_v") ? (KV_HEADS * HEAD)
                                                                  : EMBD;
    assert_true(en_statistics_has_gradients(stats, name));
    assert_int_equal(en_statistics_gradients(stats, name, g, &n_tokens, NULL), ENTRO_OK);
    assert_true(n_tokens > 0);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabsf(g[i * n + i] - importance[i]) <= 1e-4f * importance[i]);
        for (size_t k = 0; k < n; k++)
            assert_true(fabsf(g[i * n + k]) <=
                        1.001f * sqrtf(g[i * n + i] * g[k * n + k]) + 1e-30f);
    }
}

/* Labels are drawn, so single numbers are uncertain by a tenth or more, and their mean by little. */
static void importances_are_expected_squares(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int group, row, row_of_group;
    } rows[] = {{"attn_q", 0, 3, 3},      {"attn_k", 0, 5, 37},  {"attn_v", 0, 10, 58},
                {"attn_output", 1, 6, 6}, {"ffn_gate", 2, 9, 9}, {"ffn_up", 2, 1, 65},
                {"ffn_up", 2, 60, 124},   {"ffn_down", 3, 0, 0}};
    enum { N_ROWS = sizeof rows / sizeof rows[0] };
    entro_model *model = open_fixture("llama");
    reference *r = load_reference(model);
    en_calib_text text = make_text(100, 5);
    const char *folder = test_path("calib");
    collect_well(folder, model, &text, 320, 800, 2);
    en_statistics *stats;
    assert_int_equal(en_statistics_open(&stats, folder, model->decoder, NULL, NULL), ENTRO_OK);
    double log_sum = 0;
    for (int i = 0; i < N_ROWS; i++) {
        char name[64];
        float f[2 * FF];
        uint64_t n_tokens;
        int layer = i / N_ROWS, k = i % N_ROWS;
        watch w = {
            .layer = layer, .group = rows[k].group, .row = rows[k].row_of_group, .delta = 1e-3};
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, rows[i].name);
        assert_int_equal(en_statistics_of(stats, name, NULL, f, &n_tokens, NULL), ENTRO_OK);
        assert_gradients(stats, name, f);
        double ratio = (double)f[rows[i].row] / curvature(r, w, &text);
        if (!(ratio > 0.7 && ratio < 1.4))
            fail_msg("%s row %d: %g of what was expected", name, rows[i].row, ratio);
        log_sum += log(ratio);
    }
    assert_true(fabs(log_sum / N_ROWS) < 0.12);
    en_statistics_close(stats);
    free(r);
    remove_folder(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* Of the embedding: mean of g g^T, and of each row the share of its token. */
static void gradients_at_the_embedding_are_expected_squares(void **state)
{
    (void)state;
    entro_model *model = open_fixture("llama");
    reference *r = load_reference(model);
    en_calib_text text = make_text(100, 6);
    const char *folder = test_path("calib");
    collect_well(folder, model, &text, 320, 800, 2);
    char *path = en_statistics_path(folder, EN_STATISTICS_FISHER, 0);
    en_statistics_file file;
    float h[EMBD * EMBD], f[VOCAB];
    double log_sum = 0, sum = 0, most = 0;
    assert_int_equal(en_statistics_file_open(&file, path, EN_STATISTICS_FISHER, 0, NULL), ENTRO_OK);
    assert_int_equal(
        en_statistics_file_covariance(&file, EN_TOKENS_COVARIANCE, EMBD, h, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_statistics_file_vector(&file, EN_TOKENS_IMPORTANCE, VOCAB, f, NULL),
                     ENTRO_OK);
    for (int i = 0; i < EMBD; i += 8) {
        watch w = {.layer = -1, .row = i, .delta = 1e-3};
        double ratio = (double)h[i * (EMBD + 1)] / curvature(r, w, &text);
        assert_true(ratio > 0.7 && ratio < 1.4);
        log_sum += log(ratio) / (EMBD / 8);
    }
    assert_true(fabs(log_sum) < 0.12);
    for (int v = 0; v < VOCAB; v++) {
        assert_true(f[v] > 0); /* the model expects every token now and then */
        sum += (double)f[v];
        most = fmax(most, (double)f[v]);
    }
    /* Half from the text, where they add up to 1; half of all tokens are 0. */
    if (!(fabs(sum - 1) < 0.5 && most == (double)f[0]))
        fail_msg("sum %g, most %g, of token 0 %g", sum, most, (double)f[0]);
    en_statistics_file_close(&file);
    en_free(path);
    free(r);
    remove_folder(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

static void every_architecture_is_collected(void **state)
{
    (void)state;
    static const char *const names[] = {
        "llama-bias", "llama-linear-rope", "llama3-rope", "mistral-window",
        "phi3",       "phi3-longrope",     "qwen2"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        entro_model *model = open_fixture(names[i]);
        en_calib_text text = make_text(12, 4);
        const char *folder = test_path("calib");
        collect_well(folder, model, &text, 64, 32, 2);
        en_statistics *s;
        assert_int_equal(en_statistics_open(&s, folder, model->decoder, NULL, NULL), ENTRO_OK);
        for (uint32_t k = 0; k < en_source_n_tensors(model->source); k++) {
            const en_tensor *t = en_source_tensor(model->source, k);
            if (t->n_dims < 2)
                continue;
            float h[FF * FF], f[2 * FF];
            uint64_t n_tokens;
            double sum = 0;
            assert_int_equal(en_statistics_of(s, t->name, h, f, &n_tokens, NULL), ENTRO_OK);
            for (size_t row = 0; row < en_tensor_n_rows(t); row++)
                sum += (double)f[row];
            assert_true(sum > 0 && isfinite(sum) && h[0] > 0);
        }
        en_statistics_close(s);
        remove_folder(folder);
        en_calib_text_free(&text);
        en_model_close(model);
    }
}

static void what_was_stopped_goes_on_to_the_same_files(void **state)
{
    (void)state;
    entro_model *model = open_fixture("qwen2");
    en_calib_text text = make_text(600, 8);
    const char *whole = test_path("whole"), *stopped = test_path("stopped");
    collect_well(whole, model, &text, 4096, 512, 1);
    int n_stops = 0;
    for (int n_until = 0; n_until < 100; n_until++) { /* a call more each time */
        entro_error err = {0};
        entro_status status = collect(stopped, model, &text, 4096, 512, 3, n_until, &err);
        DIR *d = opendir(stopped);
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            bool known = e->d_name[0] == '.';
            for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++)
                known = known || strcmp(e->d_name, file_names[i]) == 0;
            assert_true(known);
        }
        closedir(d);
        if (status == ENTRO_OK)
            break;
        assert_int_equal(status, ENTRO_ERR_CANCELLED);
        assert_non_null(strstr(err.message, "goes on from there"));
        n_stops++;
    }
    assert_true(n_stops > 0);
    assert_same_files(whole, stopped);
    for (int i = 0; i < 4; i++) { /* any one file is made anew alone */
        char path[512];
        snprintf(path, sizeof path, "%s/%s", stopped, file_names[i]);
        test_file_write(path, (const uint8_t *)"half a file", 11);
        collect_well(stopped, model, &text, 4096, 512, 2);
        assert_same_files(whole, stopped);
    }
    remove_folder(whole);
    remove_folder(stopped);
    en_calib_text_free(&text);
    en_model_close(model);
}

static void another_text_is_collected_anew_and_another_model_is_refused(void **state)
{
    (void)state;
    entro_model *model = open_fixture("qwen2"), *other = open_fixture("llama");
    en_calib_text text = make_text(20, 8), second = make_text(20, 9);
    const char *folder = test_path("calib"), *fresh = test_path("fresh");
    entro_error err = {0};
    collect_well(folder, model, &text, 64, 32, 1);
    assert_int_equal(collect(folder, other, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "another model: of a qwen2 of 2 layers"));
    collect_well(folder, model, &second, 64, 32, 1);
    collect_well(fresh, model, &second, 64, 32, 1);
    assert_same_files(folder, fresh);
    remove_folder(folder);
    remove_folder(fresh);
    en_calib_text_free(&text);
    en_calib_text_free(&second);
    en_model_close(model);
    en_model_close(other);
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    entro_model *model = open_fixture("llama");
    const char *folder = test_path("calib");
    entro_error err = {0};
    en_calib_text text = make_text(2, 8);
    text.n_sequences = 0;
    assert_int_equal(collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "shorter than one sequence"));
    text.n_sequences = 2;
    text.tokens[11] = VOCAB;
    assert_int_equal(collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token 11"));
    text.tokens[11] = 1;
    assert_int_equal(collect("/nowhere/at/all", model, &text, 64, 32, 1, -1, &err),
                     ENTRO_ERR_NOT_FOUND);
    remove_folder(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

/* A copy of the fixture with a number replaced; bf16. */
static void copy_model(const char *to, const char *tensor, uint16_t value)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    assert_int_equal(mkdir(to, 0777), 0);
    for (int i = 0; i < 2; i++) {
        char path[512];
        size_t n;
        snprintf(path, sizeof path, TEST_FIXTURES "/models/llama/%s", names[i]);
        uint8_t *bytes = test_file_read(path, &n);
        if (i == 1) {
            uint64_t n_head = en_load64(bytes);
            char *head = strndup((char *)bytes + 8, n_head);
            char *at = strstr(head, tensor);
            unsigned long first;
            assert_non_null(at);
            assert_int_equal(sscanf(strstr(at, "data_offsets"), "data_offsets\":[%lu", &first), 1);
            memcpy(bytes + 8 + n_head + first + 2 * (5 * EMBD + 7), &value, 2);
            free(head);
        }
        snprintf(path, sizeof path, "%s/%s", to, names[i]);
        test_file_write(path, bytes, n);
        free(bytes);
    }
}

static void numbers_that_are_not_finite_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *where, *message;
        uint16_t value;
    } cases[] = {
        {"model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight", "row 5, column 7 is nan",
         0x7FC0},
        {"model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", "row 5, column 7 is inf",
         0x7F80},
        {"model.layers.0.self_attn.o_proj.weight", "blk.0", "token", 0x7F7F}, /* overflows */
        {"model.embed_tokens.weight", "token_embd.weight", "row 5, column 7 is nan", 0x7FC0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *broken = test_path("broken"), *folder = test_path("calib");
        copy_model(broken, cases[i].tensor, cases[i].value);
        entro_model *model = open_model(broken);
        en_calib_text text = make_text(20, 8);
        entro_error err = {0};
        assert_int_equal(collect(folder, model, &text, 64, 32, 1, -1, &err), ENTRO_ERR_FORMAT);
        if (strstr(err.where, cases[i].where) == NULL ||
            strstr(err.message, cases[i].message) == NULL)
            fail_msg("%s: %s", err.where, err.message);
        en_calib_text_free(&text);
        en_model_close(model);
        remove_folder(folder);
        remove_folder(broken);
    }
}

static entro_status collect_and_ask(const char *folder, const entro_model *model,
                                    const en_calib_text *text, entro_error *err)
{
    en_job job;
    en_statistics *s;
    float h[FF * FF], f[VOCAB];
    uint64_t n_tokens;
    en_collect_options opt = {.n_tokens = 16, .n_fisher_tokens = 16};
    EN_TRY(en_job_open(&job, 1, NULL, NULL, err));
    entro_status status = en_statistics_collect(folder, model->decoder, text, &opt, &job, err);
    if (status == ENTRO_OK)
        status = en_statistics_open(&s, folder, model->decoder, NULL, err);
    en_job_close(&job);
    EN_TRY(status);
    status = en_statistics_of(s, "token_embd.weight", h, f, &n_tokens, err);
    if (status == ENTRO_OK)
        status = en_statistics_of(s, "blk.1.ffn_down.weight", h, f, &n_tokens, err);
    en_statistics_close(s);
    return status;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    entro_model *model = open_fixture("llama");
    en_calib_text text = make_text(4, 8);
    const char *folder = test_path("calib");
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        entro_error err = {0};
        assert_in_range(i, 0, 5000);
        remove_folder(folder);
        en_memory_fail_at(i);
        status = collect_and_ask(folder, model, &text, &err);
        en_memory_fail_at(UINT64_MAX);
        if (status != ENTRO_OK && status != ENTRO_ERR_NOMEM)
            fail_msg("allocation %u: %s: %s", (unsigned)i, err.where, err.message);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    remove_folder(folder);
    en_calib_text_free(&text);
    en_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariances_are_those_of_the_inputs),
        cmocka_unit_test(importances_are_expected_squares),
        cmocka_unit_test(gradients_at_the_embedding_are_expected_squares),
        cmocka_unit_test(every_architecture_is_collected),
        cmocka_unit_test(what_was_stopped_goes_on_to_the_same_files),
        cmocka_unit_test(another_text_is_collected_anew_and_another_model_is_refused),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
        cmocka_unit_test(numbers_that_are_not_finite_are_named),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
