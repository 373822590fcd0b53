/*
 * collect_reference.h - the fixture "llama" in double, plainly: what statistics are compared with.
 */
#ifndef EN_TESTS_COLLECT_REFERENCE_H
#define EN_TESTS_COLLECT_REFERENCE_H

#include <math.h>

#include "collect_support.h"

typedef struct test_reference {
    double embd[VOCAB][EMBD], output_norm[EMBD];
    struct {
        double attn_norm[EMBD], ffn_norm[EMBD];
        double qkv[QKV][EMBD], attn_output[EMBD][EMBD], gate_up[2 * FF][EMBD], ffn_down[EMBD][FF];
    } layers[LAYERS];
} test_reference;

/* What is added to one number, and inputs that are written down. */
typedef struct test_watch {
    int layer, group; /* layer -1: the embedding */
    int row, position;
    double delta;
    double (*inputs[LAYERS][EN_LAYER_GROUPS])[FF]; /* [position][input]; NULL: not wanted */
    double (*output_in)[FF];
    double (*streams[LAYERS]
                    [EN_LAYER_GROUPS])[EMBD]; /* what groups 1 and 3 are added to; NULL likewise */
} test_watch;

static inline void test_read_matrix(const entro_model *model, const char *name, double *out)
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

static inline test_reference *test_reference_load(const entro_model *model)
{
    test_reference *r = malloc(sizeof *r);
    test_read_matrix(model, "token_embd.weight", r->embd[0]);
    test_read_matrix(model, "output_norm.weight", r->output_norm);
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
            test_read_matrix(model, name, parts[k].to);
        }
    }
    return r;
}

static inline void test_norm(const double *x, const double *gain, double *out)
{
    double sum = 0;
    for (int i = 0; i < EMBD; i++)
        sum += x[i] * x[i] / EMBD;
    for (int i = 0; i < EMBD; i++)
        out[i] = x[i] / sqrt(sum + 1e-5) * gain[i];
}

/* One group's product at one position. */
static inline void test_multiply(const test_watch *w, int layer, int group, int position,
                                 const double *weights, int n_out, int n_in, const double *x,
                                 double *y)
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

static inline void test_rotate(double *head, int position) /* pairs (0, 1), (2, 3) ... */
{
    for (int i = 0; i < HEAD / 2; i++) {
        double angle = position * pow(10000, -2.0 * i / HEAD), a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * cos(angle) - b * sin(angle);
        head[2 * i + 1] = a * sin(angle) + b * cos(angle);
    }
}

static inline void test_attend(double (*qkv)[QKV], int t, double *out)
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

/* x += y */
static inline void test_add(const test_watch *w, int layer, int group, int position,
                            const double *y, double *x)
{
    if (w->streams[layer][group] != NULL)
        memcpy(w->streams[layer][group][position], x, EMBD * sizeof *x);
    for (int i = 0; i < EMBD; i++)
        x[i] += y[i];
}

static inline void test_run_layer(const test_reference *r, const test_watch *w, int l,
                                  double (*x)[EMBD])
{
    double qkv[POSITIONS][QKV], in[FF], y[2 * FF];
    for (int t = 0; t < POSITIONS; t++) {
        test_norm(x[t], r->layers[l].attn_norm, in);
        test_multiply(w, l, 0, t, r->layers[l].qkv[0], QKV, EMBD, in, qkv[t]);
        for (int h = 0; h < HEADS + KV_HEADS; h++)
            test_rotate(qkv[t] + h * HEAD, t);
    }
    for (int t = 0; t < POSITIONS; t++) {
        test_attend(qkv, t, in);
        test_multiply(w, l, 1, t, r->layers[l].attn_output[0], EMBD, EMBD, in, y);
        test_add(w, l, 1, t, y, x[t]);
        test_norm(x[t], r->layers[l].ffn_norm, in);
        test_multiply(w, l, 2, t, r->layers[l].gate_up[0], 2 * FF, EMBD, in, y);
        for (int i = 0; i < FF; i++)
            in[i] = y[i] / (1 + exp(-y[i])) * y[FF + i];
        test_multiply(w, l, 3, t, r->layers[l].ffn_down[0], EMBD, FF, in, y);
        test_add(w, l, 3, t, y, x[t]);
    }
}

/* Logarithms of probabilities. */
static inline void test_reference_run(const test_reference *r, const test_watch *w,
                                      const int32_t *tokens, double (*out)[VOCAB])
{
    double x[POSITIONS][EMBD], in[FF];
    for (int t = 0; t < POSITIONS; t++)
        memcpy(x[t], r->embd[tokens[t]], sizeof x[t]);
    if (w->layer < 0)
        x[w->position][w->row] += w->delta;
    for (int l = 0; l < LAYERS; l++)
        test_run_layer(r, w, l, x);
    for (int t = 0; t < POSITIONS; t++) {
        double sum = 0;
        test_norm(x[t], r->output_norm, in);
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

#endif
