/*
 * test_block_gradients.c - one layer's gradients against central differences of its own output.
 *
 * The loss is sum c . out in double with random c; (loss(+h) - loss(-h)) / 2h along a direction is
 * compared with the gradient's product with it.  out is rounded to f32, so a difference is only
 * right to about 1e-7 |c| |out| / h; with h = 1e-2, and terms of third order about as small, errors
 * are some 1e-4 of the largest difference that the direction could give.
 */
#include "test_support.h"

#include "block_support.h"

#define STEP      1e-2
#define TOLERANCE 2e-4

static float normal(uint64_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)(test_random(seed) >> 11) * 0x1p-53 - 0.5;
    return (float)(sum * 1.7320508);
}

/* A layer whose biases can be moved: a copy, with all of them. */
typedef struct setting {
    test_model m;
    en_layer layer;
    size_t n; /* floats of x */
    float *x, *c, *out, *dx;
    double *sums;
} setting;

static float *random_bias(const float *bias, size_t n, uint64_t *seed)
{
    float *copy = malloc(n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = bias != NULL ? bias[i] : 0.3f * normal(seed);
    return copy;
}

static setting prepare(const char *name, uint32_t n_sequences, uint32_t n_positions)
{
    setting s = {.m = test_model_open(name, 512, n_sequences, n_positions, 2)};
    const en_hparams *hp = s.m.hp;
    uint64_t seed = 17;
    s.layer = s.m.decoder->weights.layers[1];
    s.layer.qkv_bias = random_bias(s.layer.qkv_bias, test_qkv_floats(hp), &seed);
    s.layer.attn_output_bias = random_bias(s.layer.attn_output_bias, hp->n_embd, &seed);
    s.layer.gate_up_bias = random_bias(s.layer.gate_up_bias, 2 * (size_t)hp->n_ff, &seed);
    s.layer.ffn_down_bias = random_bias(s.layer.ffn_down_bias, hp->n_embd, &seed);
    s.n = (size_t)s.m.n_tokens * hp->n_embd;
    s.x = malloc(s.n * sizeof *s.x);
    s.c = calloc(s.n, sizeof *s.c);
    s.out = malloc(s.n * sizeof *s.out);
    s.dx = malloc(s.n * sizeof *s.dx);
    s.sums = calloc(test_fisher_floats(hp), sizeof *s.sums);
    for (size_t i = 0; i < s.n; i++) {
        s.x[i] = normal(&seed);
        s.c[i] = normal(&seed);
    }
    return s;
}

static void drop(setting *s)
{
    free(s->layer.qkv_bias);
    free(s->layer.attn_output_bias);
    free(s->layer.gate_up_bias);
    free(s->layer.ffn_down_bias);
    free(s->x);
    free(s->c);
    free(s->out);
    free(s->dx);
    free(s->sums);
    test_model_close(&s->m);
}

static double loss_of(setting *s)
{
    entro_error err = {0};
    en_block_tape *tape = &s->m.tapes[1];
    s->m.blocks[1].layer = &s->layer;
    memcpy(tape->x, s->x, s->n * sizeof *s->x);
    test_must(en_block_forward(&s->m.blocks[1], &s->m.rope, tape, tape->n_sequences, s->out,
                               s->m.pool, &err),
              &err);
    double loss = 0;
    for (size_t i = 0; i < s->n; i++)
        loss += (double)s->c[i] * (double)s->out[i];
    return loss;
}

/* Gradients to s->dx and the tape, squares to s->sums. */
static void differentiate(setting *s)
{
    entro_error err = {0};
    en_block_sums fisher = test_fisher_at(s->m.hp, s->sums);
    loss_of(s);
    memcpy(s->dx, s->c, s->n * sizeof *s->dx);
    test_must(en_block_backward(&s->m.blocks[1], &s->m.rope, &s->m.tapes[1],
                                s->m.tapes[1].n_sequences, s->dx, &fisher, s->m.pool, &err),
              &err);
}

/* The difference along 'direction' when 'values' (n of them, used by the layer) are moved. */
static double difference(setting *s, float *values, const double *direction, size_t n)
{
    float *before = malloc(n * sizeof *before);
    double loss[2];
    memcpy(before, values, n * sizeof *before);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)((double)before[i] + (side ? -STEP : STEP) * direction[i]);
        loss[side] = loss_of(s);
    }
    memcpy(values, before, n * sizeof *before);
    free(before);
    return (loss[0] - loss[1]) / (2 * STEP);
}

/*
 * Along the gradient itself and along random directions, all of them of length 1, so that none moves
 * the layer far.  Returns the worst error relative to the gradient's length.
 */
static double compare(setting *s, float *values, const double *gradient, size_t n)
{
    enum { DIRECTIONS = 6 };
    double length = 0, worst = 0, *direction = malloc(n * sizeof *direction);
    uint64_t seed = 5;
    for (size_t i = 0; i < n; i++)
        length += gradient[i] * gradient[i];
    length = sqrt(length);
    assert_true(length > 0.1);
    for (int d = 0; d < DIRECTIONS; d++) {
        double norm = 0, want = 0;
        for (size_t i = 0; i < n; i++) {
            direction[i] = d == 0 ? gradient[i] : (double)normal(&seed);
            norm += direction[i] * direction[i];
        }
        for (size_t i = 0; i < n; i++) {
            direction[i] /= sqrt(norm);
            want += direction[i] * gradient[i];
        }
        worst = fmax(worst, fabs(difference(s, values, direction, n) - want) / length);
    }
    free(direction);
    return worst;
}

/* What a bias feels: the gradients of all tokens. */
static double *sum_tokens(const float *gradients, size_t n_tokens, size_t n)
{
    double *sum = calloc(n, sizeof *sum);
    for (size_t i = 0; i < n_tokens * n; i++)
        sum[i % n] += (double)gradients[i];
    return sum;
}

static void check_site(setting *s, const char *site, float *values, double *gradient, size_t n)
{
    double error = compare(s, values, gradient, n);
    print_message("  %-12s %.1e\n", site, error);
    if (!(error < TOLERANCE))
        fail_msg("%s: error %.2e", site, error);
    free(gradient);
}

typedef struct vector_gradients {
    en_block_vectors at;
    double *all; /* one behind the other, as 'at' points */
} vector_gradients;

static vector_gradients new_vectors(const en_hparams *hp)
{
    const size_t n_embd = hp->n_embd, n_qkv = test_qkv_floats(hp), n_ff = hp->n_ff;
    vector_gradients v = {.all = calloc(4 * n_embd + n_qkv + 2 * n_ff, sizeof *v.all)};
    v.at.attn_norm = v.all;
    v.at.ffn_norm = v.at.attn_norm + n_embd;
    v.at.attn_output_bias = v.at.ffn_norm + n_embd;
    v.at.ffn_down_bias = v.at.attn_output_bias + n_embd;
    v.at.qkv_bias = v.at.ffn_down_bias + n_embd;
    v.at.gate_up_bias = v.at.qkv_bias + n_qkv;
    return v;
}

/* Sums at gains and biases; they add to what is there. */
static void check_vectors(const char *name, uint32_t n_sequences, uint32_t n_positions)
{
    setting s = prepare(name, n_sequences, n_positions);
    const en_hparams *hp = s.m.hp;
    const size_t n_embd = hp->n_embd, n_qkv = test_qkv_floats(hp), n_ff = hp->n_ff;
    vector_gradients v = new_vectors(hp);
    const struct {
        const char *name;
        float *values;
        double *gradients;
        size_t n;
    } vectors[] = {{"attn_norm", s.layer.attn_norm, v.at.attn_norm, n_embd},
                   {"ffn_norm", s.layer.ffn_norm, v.at.ffn_norm, n_embd},
                   {"qkv", s.layer.qkv_bias, v.at.qkv_bias, n_qkv},
                   {"attn_output", s.layer.attn_output_bias, v.at.attn_output_bias, n_embd},
                   {"gate_up", s.layer.gate_up_bias, v.at.gate_up_bias, 2 * n_ff},
                   {"ffn_down", s.layer.ffn_down_bias, v.at.ffn_down_bias, n_embd}};
    const en_block_sums sums = {.vectors = v.at};
    entro_error err = {0};
    for (int time = 0; time < 2; time++) {
        loss_of(&s);
        memcpy(s.dx, s.c, s.n * sizeof *s.dx);
        test_must(en_block_backward(&s.m.blocks[1], &s.m.rope, &s.m.tapes[1], n_sequences, s.dx,
                                    &sums, s.m.pool, &err),
                  &err);
    }
    print_message("%s, %u positions\n", name, n_positions);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        double *once = malloc(vectors[i].n * sizeof *once);
        for (size_t k = 0; k < vectors[i].n; k++)
            once[k] = vectors[i].gradients[k] / 2;
        check_site(&s, vectors[i].name, vectors[i].values, once, vectors[i].n);
    }
    free(v.all);
    drop(&s);
}

static void gradients_at_vectors_are_slopes(void **state)
{
    (void)state;
    check_vectors("llama", 2, 20);
    check_vectors("phi3", 1, 25);
    check_vectors("qwen2", 2, 20);
}

static void check(const char *name, uint32_t n_sequences, uint32_t n_positions)
{
    setting s = prepare(name, n_sequences, n_positions);
    const en_hparams *hp = s.m.hp;
    size_t n_tokens = s.m.n_tokens, n_qkv = test_qkv_floats(hp), n_gate_up = 2 * (size_t)hp->n_ff;
    print_message("%s, %u positions\n", name, n_positions);
    differentiate(&s);
    /* All of them now: differences overwrite the tape. */
    double *dx = sum_tokens(s.dx, 1, s.n);
    double *qkv = sum_tokens(s.m.tapes[1].qkv, n_tokens, n_qkv);
    double *gate_up = sum_tokens(s.m.tapes[1].gate_up, n_tokens, n_gate_up);
    double *down = sum_tokens(s.c, n_tokens, hp->n_embd);
    check_site(&s, "x", s.x, dx, s.n);
    check_site(&s, "q k v", s.layer.qkv_bias, qkv, n_qkv);
    check_site(&s, "gate up", s.layer.gate_up_bias, gate_up, n_gate_up);
    check_site(&s, "down", s.layer.ffn_down_bias, down, hp->n_embd);
    drop(&s);
}

static void gradients_are_slopes_in_every_architecture(void **state)
{
    (void)state;
    check("llama", 2, 20);
    check("llama3-rope", 1, 20);
    check("phi3", 2, 25);
    check("phi3-longrope", 1, 20);
    check("qwen2", 2, 20);
}

static void gradients_are_slopes_across_stripes(void **state)
{
    (void)state;
    check("mistral-window", 2, 150);
    check("qwen2", 1, 270);
}

/*
 * Sums of squares: where the loss is one token's, every gradient behind attention is, so that a sum is
 * the square of one gradient - the slope of that row's bias.
 */
static void squares_are_of_the_slopes(void **state)
{
    (void)state;
    setting s = prepare("llama", 1, 12);
    const size_t n_embd = s.m.hp->n_embd;
    memset(s.c, 0, (s.n - n_embd) * sizeof *s.c);
    differentiate(&s);
    en_block_sums fisher = test_fisher_at(s.m.hp, s.sums);
    struct {
        const double *squares;
        float *bias;
        size_t n;
    } sites[] = {{fisher.attn_output, s.layer.attn_output_bias, n_embd},
                 {fisher.gate_up, s.layer.gate_up_bias, 2 * (size_t)s.m.hp->n_ff},
                 {fisher.ffn_down, s.layer.ffn_down_bias, n_embd}};
    for (size_t g = 0; g < 3; g++) {
        double largest = 0, *one = calloc(sites[g].n, sizeof *one);
        for (size_t i = 0; i < sites[g].n; i++)
            largest = fmax(largest, sqrt(sites[g].squares[i]));
        for (size_t i = 0; i < sites[g].n; i++) {
            one[i] = 1;
            double slope = difference(&s, sites[g].bias, one, sites[g].n);
            one[i] = 0;
            assert_true(fabs(fabs(slope) - sqrt(sites[g].squares[i])) < 1e-3 * largest);
        }
        free(one);
    }
    drop(&s);
}

/* What backward left in the tape and in dx, row against row; blocks of q, k, v and of gate and up. */
static void gradients_are_summed_in_blocks(void **state)
{
    (void)state;
    setting s = prepare("llama", 2, 7);
    const en_hparams *hp = s.m.hp;
    en_block_tape *tape = &s.m.tapes[1];
    en_block_sums fisher = test_fisher_at(hp, s.sums);
    float *blocks = calloc(en_gradient_layer_floats(hp), sizeof *blocks), *at = blocks;
    for (uint32_t g = 0; g < EN_GRADIENT_GROUPS; g++) {
        fisher.gradients[g] = at;
        at += en_gradient_floats(hp, g);
    }
    loss_of(&s);
    memcpy(s.dx, s.c, s.n * sizeof *s.dx);
    assert_int_equal(
        en_block_backward(&s.m.blocks[1], &s.m.rope, tape, 2, s.dx, &fisher, s.m.pool, NULL),
        ENTRO_OK);
    const struct {
        uint32_t group;
        const float *g;
    } sites[] = {{0, tape->qkv}, {2, tape->gate_up}, {3, s.c}};
    const double *squares[] = {fisher.qkv, fisher.gate_up, fisher.ffn_down};
    for (size_t i = 0; i < 3; i++) {
        en_gradient_group group = en_gradient_group_of(hp, sites[i].group);
        const float *block = fisher.gradients[sites[i].group];
        size_t stride = 0, first = 0;
        for (uint32_t m = 0; m < group.n_matrices; m++)
            stride += group.n_rows[m];
        for (uint32_t m = 0; m < group.n_matrices; first += group.n_rows[m++]) {
            size_t n = group.n_rows[m]; /* one block: the fixtures are small */
            for (size_t r = 0; r < n; r++)
                for (size_t c = 0; c <= r; c++) {
                    double sum = 0;
                    for (size_t t = 0; t < s.m.n_tokens; t++)
                        sum += (double)sites[i].g[t * stride + first + r] *
                               (double)sites[i].g[t * stride + first + c];
                    double size = sqrt(squares[i][first + r] * squares[i][first + c]);
                    assert_true(fabs((double)block[r * n + c] - sum) <= 1e-5 * size);
                }
            block += n * n;
        }
    }
    free(blocks);
    drop(&s);
}

/* Sums add to what is there, and NULL ones are left out. */
static void squares_are_added(void **state)
{
    (void)state;
    setting s = prepare("qwen2", 1, 9);
    size_t n = test_fisher_floats(s.m.hp);
    differentiate(&s);
    double *once = malloc(n * sizeof *once);
    memcpy(once, s.sums, n * sizeof *once);
    differentiate(&s);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(s.sums[i] - 2 * once[i]) <= 1e-12 * s.sums[i]);
    free(once);
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_slopes_in_every_architecture),
        cmocka_unit_test(gradients_are_slopes_across_stripes),
        cmocka_unit_test(gradients_at_vectors_are_slopes),
        cmocka_unit_test(squares_are_of_the_slopes),
        cmocka_unit_test(squares_are_added),
        cmocka_unit_test(gradients_are_summed_in_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
