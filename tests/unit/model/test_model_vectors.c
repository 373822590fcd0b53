/*
 * Gains and biases by the names of their tensors: of every architecture's fixture, each tensor of one dimension
 * leads to the floats it holds, and parts of fused biases tile them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "model/decoder.h"
#include "model/model_vectors.h"

typedef struct opened {
    en_source *source;
    en_decoder *decoder;
} opened;

static opened open_fixture(const char *name)
{
    opened o = {0};
    char path[512];
    entro_error err = {0};
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    if (en_source_open(&o.source, path, &err) != ENTRO_OK ||
        en_decoder_new(&o.decoder, o.source, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s: %s", name, err.where, err.message);
    return o;
}

static void close_fixture(opened *o)
{
    en_decoder_free(o->decoder);
    en_source_close(o->source);
}

static void check_tensor(const opened *o, const en_tensor *t)
{
    uint64_t n = 77;
    const float *vector = en_weights_vector(&o->decoder->weights, &o->decoder->hp, t->name, &n);
    if (t->n_dims > 1 || strncmp(t->name, "rope_", 5) == 0) {
        assert_null(vector);
        assert_int_equal(n, 0);
        return;
    }
    if (vector == NULL)
        fail_msg("%s leads nowhere", t->name);
    assert_int_equal(n, t->dims[0]);
    float *stored = en_alloc((size_t)n, sizeof *stored);
    assert_non_null(stored);
    assert_int_equal(en_source_read_rows(o->source, t, 0, 1, stored, NULL), ENTRO_OK);
    assert_memory_equal(vector, stored, n * sizeof *stored);
    en_free(stored);
}

static void every_vector_is_found_by_its_name(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "llama-bias",    "llama3-rope", "mistral-window",
                                        "phi3",  "phi3-longrope", "qwen2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        opened o = open_fixture(names[i]);
        uint32_t n_vectors = 0;
        for (uint32_t k = 0; k < en_source_n_tensors(o.source); k++) {
            const en_tensor *t = en_source_tensor(o.source, k);
            check_tensor(&o, t);
            n_vectors += t->n_dims == 1;
        }
        assert_true(n_vectors > 2 * o.decoder->hp.n_layers);
        close_fixture(&o);
    }
}

static void a_change_shows_in_the_layer(void **state)
{
    (void)state;
    opened o = open_fixture("qwen2");
    const en_hparams *hp = &o.decoder->hp;
    uint64_t n, n_q = (uint64_t)hp->n_heads * hp->n_head_dim;
    uint64_t n_kv = (uint64_t)hp->n_kv_heads * hp->n_head_dim;
    float *v = en_weights_vector(&o.decoder->weights, hp, "blk.1.attn_v.bias", &n);
    assert_non_null(v);
    assert_int_equal(n, n_kv);
    v[n - 1] = 1234;
    assert_true(o.decoder->weights.layers[1].qkv_bias[n_q + 2 * n_kv - 1] == 1234);
    close_fixture(&o);
}

static void other_names_lead_nowhere(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "blk.",
                                        "blk.0.",
                                        "blk.0.attn_q.weight",
                                        "blk.0.attn_output.bias", /* this model has none */
                                        "blk.99999999.attn_norm.weight",
                                        "blk.4294967296.attn_norm.weight",
                                        "attn_norm.weight",
                                        "rope_freqs.weight",
                                        "token_embd.weight"};
    opened o = open_fixture("llama");
    uint64_t n;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_null(en_weights_vector(&o.decoder->weights, &o.decoder->hp, names[i], &n));
    char next[64];
    snprintf(next, sizeof next, "blk.%u.attn_norm.weight", o.decoder->weights.n_layers);
    assert_null(en_weights_vector(&o.decoder->weights, &o.decoder->hp, next, &n));
    close_fixture(&o);
}

/* Also of biases that no fixture has. */
static void parts_tile_their_fields(void **state)
{
    (void)state;
#define ADDRESS(name) &en_arch_##name,
    const en_arch *const archs[] = {EN_ARCH_LIST(ADDRESS)};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        en_hparams hp = {.arch = archs[i],
                         .n_heads = 6,
                         .n_kv_heads = 2,
                         .n_head_dim = 16,
                         .n_embd = 80,
                         .n_ff = 200};
        en_vector_place places[EN_LAYER_VECTORS];
        uint32_t n = en_layer_vectors(&hp, places);
        assert_true(n > 0 && n <= EN_LAYER_VECTORS);
        for (uint32_t a = 0; a < n; a++) {
            uint64_t sum = 0, before = 0;
            for (uint32_t b = 0; b < n; b++) {
                assert_true(a == b || strcmp(places[a].name, places[b].name) != 0);
                if (places[b].field != places[a].field)
                    continue;
                assert_int_equal(places[b].all, places[a].all);
                sum += places[b].n;
                before += b < a ? places[b].n : 0;
            }
            assert_int_equal(places[a].first, before);
            assert_int_equal(sum, places[a].all);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_is_found_by_its_name),
        cmocka_unit_test(a_change_shows_in_the_layer),
        cmocka_unit_test(other_names_lead_nowhere),
        cmocka_unit_test(parts_tile_their_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
