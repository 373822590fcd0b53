/* test_residency.c - what stays coded and what is packed, on a coded model: budgets are kept. */
#include "engine/residency.h"

#include "compress_support.h"
#include "container/container.h"
#include "gguf_support.h"

/* Of the model that was opened last: the matrix that is listed last but for the output. */
static bool g_last_is_packed;

static const char tiny[] = TEST_SHARED "/data/models/tinystories-656k";

/* The file opened anew, its matrices kept so. */
static en_residency kept(const char *path, entro_keep keep, uint64_t budget)
{
    en_source *source = NULL;
    en_container *container = NULL;
    en_decoder *decoder = NULL;
    en_residency r;
    const entro_model_options opt = {
        .struct_size = sizeof opt, .n_threads = 2, .keep = keep, .ram_bytes = budget};
    assert_int_equal(en_source_open(&source, path, NULL), ENTRO_OK);
    assert_int_equal(en_container_open(&container, source, NULL), ENTRO_OK);
    assert_int_equal(en_decoder_new(&decoder, source, container, NULL), ENTRO_OK);
    assert_int_equal(en_residency_choose(&r, decoder, source, &opt, NULL), ENTRO_OK);
    const en_weights *w = &decoder->weights;
    g_last_is_packed = w->layers[w->n_layers - 1].ffn_down.packed != NULL;
    en_decoder_free(decoder);
    en_container_close(container);
    en_source_close(source);
    return r;
}

/* Integers with long lists, which nobody knows the length of before the matrix is packed. */
static void make(const char *path, const char *coding)
{
    entro_compress_options opt = {.struct_size = sizeof opt,
                                  .method = "rtn",
                                  .bits = 3.5,
                                  .coding = coding,
                                  .n_threads = 2,
                                  .overwrite = true};
    test_compress(tiny, path, &opt);
}

static void budgets_are_kept(void **state)
{
    (void)state;
    const char *path = test_path("strips.gguf");
    make(path, "strips");
    en_residency coded = kept(path, ENTRO_KEEP_CODED, 0);
    en_residency packed = kept(path, ENTRO_KEEP_PACKED, 0);
    assert_true(coded.n_packed == 0 && coded.packed_bytes == 0 && coded.weight_bytes > 0);
    assert_true(packed.n_packed == packed.n_matrices && packed.n_matrices > 8);
    assert_int_equal(packed.packed_bytes, packed.weight_bytes);
    assert_true(packed.weight_bytes > coded.weight_bytes);
    uint64_t more = packed.weight_bytes - coded.weight_bytes;
    uint32_t most = 0;
    for (uint64_t budget = coded.weight_bytes; budget <= packed.weight_bytes;
         budget += more / 150) {
        en_residency r = kept(path, ENTRO_KEEP_WITHIN, budget);
        if (r.weight_bytes > budget)
            fail_msg("%llu bytes of %llu", (unsigned long long)r.weight_bytes,
                     (unsigned long long)budget);
        assert_true(r.n_packed < r.n_matrices || r.weight_bytes == packed.weight_bytes);
        most = r.n_packed > most ? r.n_packed : most;
    }
    assert_true(most + 2 >= packed.n_matrices);
    assert_int_equal(kept(path, ENTRO_KEEP_WITHIN, packed.weight_bytes).n_packed,
                     packed.n_matrices);
    assert_int_equal(kept(path, ENTRO_KEEP_WITHIN, 0).n_packed, 0);
}

static void rans_is_packed_unless_a_budget_forbids(void **state)
{
    (void)state;
    const char *path = test_path("rans.gguf");
    make(path, "rans");
    en_residency r = kept(path, ENTRO_KEEP_CODED, 0);
    assert_int_equal(r.n_packed, r.n_matrices);
    assert_int_equal(kept(path, ENTRO_KEEP_AUTO, 0).n_packed, r.n_matrices);
    en_residency within = kept(path, ENTRO_KEEP_WITHIN, r.weight_bytes * 9 / 10);
    assert_true(within.n_packed < r.n_matrices && within.weight_bytes <= r.weight_bytes * 9 / 10);
}

/* Of a kind whose first layer is in strips, and the others in rans. */
static void matrices_in_rans_are_packed_first(void **state)
{
    (void)state;
    const char *path = test_path("mixed.gguf");
    const char *const later[] = {"blk.[!0].*=u8-row"};
    entro_compress_options opt = {.struct_size = sizeof opt,
                                  .method = "rtn",
                                  .bits = 3.5,
                                  .overrides = later,
                                  .n_overrides = 1,
                                  .n_threads = 2,
                                  .overwrite = true};
    uint32_t n_rans = test_compress(tiny, path, &opt).n_rans_tensors;
    en_residency coded = kept(path, ENTRO_KEEP_CODED, 0);
    assert_true(n_rans > 4 && coded.n_packed == n_rans && coded.n_matrices > n_rans + 4);
    assert_true(kept(path, ENTRO_KEEP_AUTO, 0).n_packed >= n_rans);
    assert_int_equal(kept(path, ENTRO_KEEP_PACKED, 0).n_packed, coded.n_matrices);
    /* With room for little more, which would not last until then. */
    uint64_t budget = coded.weight_bytes + coded.weight_bytes / 100;
    en_residency within = kept(path, ENTRO_KEEP_WITHIN, budget);
    assert_true(within.n_packed >= n_rans && within.n_packed < within.n_matrices);
    assert_true(within.weight_bytes <= budget && g_last_is_packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(rans_is_packed_unless_a_budget_forbids),
        cmocka_unit_test(matrices_in_rans_are_packed_first),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
