/*
 * test_calib_writer.c - what a model writes is drawn from its own distribution, the same each time, and
 * kept.
 */
#include "calib/calib_writer.h"

#include <math.h>

#include "tokenizer_support.h"

#include "calib/calib_beginnings.h"
#include "calib/written_text.h"
#include "gguf_support.h"
#include "session_support.h"

enum { VOCAB = 96, POSITIONS = 24, N_TEXTS = 120, LONG_POSITIONS = 200 };

/* Some bytes and BOS, as many tokens as the fixtures' models have. */
static en_tokenizer *make_tokenizer(en_meta **meta, bool add_bos)
{
    return new_byte_tokenizer(meta, 32, VOCAB - 1, add_bos);
}

typedef struct calls {
    int n, n_until; /* -1: never stop */
} calls;

static bool count_call(void *user, const entro_progress *p)
{
    calls *c = user;
    assert_string_equal(p->stage, "text");
    assert_string_equal(p->unit, "tok");
    assert_true(p->done <= p->total);
    return c->n++ != c->n_until;
}

static entro_status write_with(en_calib_text *text, const entro_model *model, const en_tokenizer *t,
                               uint64_t n_tokens, uint64_t seed, uint32_t n_threads, calls *c)
{
    en_job job;
    entro_error err = {0};
    assert_int_equal(en_job_open(&job, n_threads, count_call, c, NULL), ENTRO_OK);
    en_calib_writing how = {.n_positions = POSITIONS, .n_tokens = n_tokens, .seed = seed};
    entro_status status =
        en_calib_text_write(text, test_path("calib"), model->decoder, t, &how, &job, &err);
    if (status != ENTRO_OK && status != ENTRO_ERR_CANCELLED)
        fail_msg("%s: %s", err.where, err.message);
    en_job_close(&job);
    return status;
}

static en_calib_text write_well(const entro_model *model, const en_tokenizer *t, uint64_t n_tokens,
                                uint64_t seed, uint32_t n_threads, int *n_calls)
{
    en_calib_text text;
    calls c = {.n_until = -1};
    assert_int_equal(write_with(&text, model, t, n_tokens, seed, n_threads, &c), ENTRO_OK);
    if (n_calls != NULL)
        *n_calls = c.n;
    return text;
}

static void forget_text(void)
{
    unlink(test_path("calib/text.gguf"));
    rmdir(test_path("calib"));
}

/*
 * Of a sequence by itself: surprise at each token from position 'from' on, less what is expected of draws at
 * 'temperature', and the variance of that.
 */
static void add_surprise(entro_session *session, const int32_t *tokens, int from, int n_positions,
                         double temperature, double *sum, double *variance)
{
    static float logits[LONG_POSITIONS * VOCAB];
    en_session_truncate(session, 0);
    assert_int_equal(en_session_decode_all(session, tokens, (size_t)n_positions, logits, NULL),
                     ENTRO_OK);
    for (int t = from; t + 1 < n_positions; t++) {
        const float *at = logits + t * VOCAB;
        double all = 0, mean = 0, square = 0;
        for (int v = 0; v < VOCAB; v++)
            all += exp((double)at[v] / temperature);
        for (int v = 0; v < VOCAB; v++) {
            double surprise = log(all) - (double)at[v] / temperature;
            mean += exp(-surprise) * surprise;
            square += exp(-surprise) * surprise * surprise;
        }
        *sum += log(all) - (double)at[tokens[t + 1]] / temperature - mean;
        *variance += square - mean * mean;
    }
}

static void texts_are_drawn_from_the_model(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",         "llama-bias",     "llama3-rope", "qwen2",
                                        "phi3-longrope", "mistral-window", "phi3"};
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        entro_model *model = test_open_fixture(names[i]);
        en_calib_text text = write_well(model, t, N_TEXTS * POSITIONS, 1, 2, NULL);
        entro_session_options opt = {
            .struct_size = sizeof opt, .n_ctx = POSITIONS, .n_threads = 1, .n_batch = POSITIONS};
        entro_session *session;
        double sum = 0, variance = 0;
        assert_int_equal(en_session_open(&session, model, &opt, NULL), ENTRO_OK);
        assert_int_equal(text.n_sequences, N_TEXTS);
        for (uint64_t s = 3; s < N_TEXTS; s += 4) { /* the others begin with words */
            assert_int_equal(en_calib_text_sequence(&text, s)[0], VOCAB - 1);
            add_surprise(session, en_calib_text_sequence(&text, s), 0, POSITIONS, 1, &sum,
                         &variance);
        }
        double sigmas = sum / sqrt(variance);
        if (!(fabs(sigmas) < 3.5))
            fail_msg("%s: %g standard deviations from what is expected", names[i], sigmas);
        en_session_close(session);
        en_calib_text_free(&text);
        en_model_close(model);
        forget_text();
    }
    en_tokenizer_free(t);
    en_meta_free(meta);
}

/* How far answers are from draws at 'temperature', in standard deviations of their surprise. */
static double sigmas_of_answers(const entro_model *model, const en_calib_text *text,
                                const en_calib_beginnings *beginnings, double temperature)
{
    double sum = 0, variance = 0;
    entro_session *session = test_open_session(model, LONG_POSITIONS, 1, LONG_POSITIONS);
    for (uint64_t s = 0; s < text->n_sequences; s += 2) {
        const int32_t *tokens = en_calib_text_sequence(text, s);
        en_calib_beginning b = en_calib_beginning_of(beginnings, s);
        assert_true(b.n > 0 && b.n < LONG_POSITIONS - 20);
        assert_int_equal(tokens[0], VOCAB - 1);
        assert_memory_equal(tokens + 1, b.tokens, b.n * sizeof *tokens);
        add_surprise(session, tokens, (int)b.n, LONG_POSITIONS, temperature, &sum, &variance);
    }
    en_session_close(session);
    return sum / sqrt(variance);
}

static void answers_follow_requests_at_their_temperature(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    entro_model *model = test_open_fixture("llama");
    en_calib_beginnings beginnings;
    en_calib_text text;
    en_job job;
    en_meta_set_string(meta, "tokenizer.chat_template", "<|im_start|>", NULL);
    assert_int_equal(en_calib_beginnings_new(&beginnings, t, meta, VOCAB, NULL), ENTRO_OK);
    assert_int_equal(en_job_open(&job, 2, NULL, NULL, NULL), ENTRO_OK);
    en_calib_writing how = {
        .n_positions = LONG_POSITIONS, .n_tokens = 60 * LONG_POSITIONS, .seed = 1, .meta = meta};
    assert_int_equal(
        en_calib_text_write(&text, test_path("calib"), model->decoder, t, &how, &job, NULL),
        ENTRO_OK);
    double temperature = (double)en_calib_beginning_of(&beginnings, 0).temperature;
    double as_drawn = sigmas_of_answers(model, &text, &beginnings, temperature);
    double at_one = sigmas_of_answers(model, &text, &beginnings, 1);
    if (!(fabs(as_drawn) < 3.5 && at_one < -3.5))
        fail_msg("%g and %g standard deviations from draws at %g and at 1", as_drawn, at_one,
                 temperature);
    en_calib_text_free(&text);
    en_calib_beginnings_free(&beginnings);
    forget_text();
    en_job_close(&job);
    en_model_close(model);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void a_seed_gives_one_text(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, false); /* no BOS in front of what comes out */
    entro_model *model = test_open_fixture("llama");
    en_calib_text texts[3];
    for (int i = 0; i < 3; i++) {
        texts[i] = write_well(model, t, 7 * POSITIONS - 5, i < 2 ? 1 : 2, (uint32_t)i + 1, NULL);
        assert_int_equal(texts[i].n_sequences, 7);
        assert_string_equal(texts[i].name, "written by the model");
        forget_text();
    }
    size_t n_bytes = 7 * POSITIONS * sizeof(int32_t);
    assert_memory_equal(texts[0].tokens, texts[1].tokens, n_bytes);
    assert_memory_not_equal(texts[0].tokens, texts[2].tokens, n_bytes);
    assert_memory_not_equal(texts[0].tokens, texts[0].tokens + 2 * POSITIONS,
                            POSITIONS * sizeof(int32_t));
    for (int i = 0; i < 3; i++)
        en_calib_text_free(&texts[i]);
    en_model_close(model);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void the_text_is_kept(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    entro_model *model = test_open_fixture("llama"), *other = test_open_fixture("qwen2");
    int n_calls;
    en_calib_text first = write_well(model, t, 100, 1, 1, &n_calls);
    assert_true(n_calls > 0);
    en_calib_text again = write_well(model, t, 100, 1, 1, &n_calls);
    assert_int_equal(n_calls, 0);
    size_t n_bytes = first.n_sequences * POSITIONS * sizeof(int32_t);
    assert_memory_equal(first.tokens, again.tokens, n_bytes);
    en_calib_text_free(&again);
    test_file_write(test_path("calib/text.gguf"), (const uint8_t *)"GGUF", 4); /* damaged */
    again = write_well(model, t, 100, 1, 1, &n_calls);
    assert_true(n_calls > 0);
    assert_memory_equal(first.tokens, again.tokens, n_bytes);
    en_calib_text_free(&again);
    again = write_well(other, t, 100, 1, 1, &n_calls); /* of another model */
    assert_true(n_calls > 0);
    en_calib_text_free(&again);
    en_calib_text_free(&first);
    forget_text();
    en_model_close(model);
    en_model_close(other);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static entro_status find(en_calib_text *text, const entro_model *model, uint64_t n_tokens)
{
    return en_calib_text_find(text, test_path("calib"), model->decoder, POSITIONS, n_tokens, NULL);
}

static void a_longer_text_is_found(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    entro_model *model = test_open_fixture("llama"), *other = test_open_fixture("qwen2");
    en_calib_text text;
    assert_int_equal(find(&text, model, 1), ENTRO_ERR_NOT_FOUND); /* no folder */
    assert_null(text.tokens);
    en_calib_text written = write_well(model, t, 5 * POSITIONS, 7, 1, NULL);
    for (uint64_t n = 1; n <= 5; n++) {
        assert_int_equal(find(&text, model, n * POSITIONS - 3), ENTRO_OK);
        assert_int_equal(text.n_sequences, n);
        assert_int_equal(text.n_positions, POSITIONS);
        assert_memory_equal(text.tokens, written.tokens, n * POSITIONS * sizeof *text.tokens);
        en_calib_text_free(&text);
    }
    assert_int_equal(find(&text, model, 5 * POSITIONS + 1), ENTRO_ERR_NOT_FOUND);
    assert_int_equal(find(&text, other, POSITIONS), ENTRO_ERR_NOT_FOUND);
    size_t n_bytes;
    uint8_t *bytes = test_file_read(test_path("calib/text.gguf"), &n_bytes);
    bytes[n_bytes - 64] ^= 1; /* an id, of which there is a checksum */
    test_file_write(test_path("calib/text.gguf"), bytes, n_bytes);
    assert_int_equal(find(&text, model, POSITIONS), ENTRO_ERR_NOT_FOUND);
    test_file_write(test_path("calib/text.gguf"), bytes, n_bytes / 2);
    assert_int_equal(find(&text, model, POSITIONS), ENTRO_ERR_NOT_FOUND);
    free(bytes);
    en_calib_text_free(&written);
    forget_text();
    en_model_close(model);
    en_model_close(other);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void a_stopped_one_leaves_nothing(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    entro_model *model = test_open_fixture("llama");
    en_calib_text text;
    calls c = {.n_until = 0};
    assert_int_equal(write_with(&text, model, t, 100, 1, 1, &c), ENTRO_ERR_CANCELLED);
    assert_null(text.tokens);
    assert_int_equal(rmdir(test_path("calib")), 0); /* it is empty */
    en_model_close(model);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    en_meta *meta;
    en_tokenizer *t = make_tokenizer(&meta, true);
    entro_model *model = test_open_fixture("llama");
    size_t n_before = en_memory_in_use();
    entro_status status = ENTRO_ERR_NOMEM;
    for (uint64_t i = 0; status != ENTRO_OK; i++) {
        en_job job;
        en_calib_text text = {0};
        assert_int_equal(en_job_open(&job, 1, NULL, NULL, NULL), ENTRO_OK);
        assert_in_range(i, 0, 5000);
        forget_text();
        en_memory_fail_at(i);
        status = en_calib_text_write(
            &text, test_path("calib"), model->decoder, t,
            &(en_calib_writing){.n_positions = POSITIONS, .n_tokens = 30, .seed = 1}, &job, NULL);
        en_memory_fail_at(UINT64_MAX);
        en_calib_text_free(&text);
        en_job_close(&job);
        assert_true(status == ENTRO_OK || status == ENTRO_ERR_NOMEM);
        assert_int_equal(en_memory_in_use(), n_before);
    }
    forget_text();
    en_model_close(model);
    en_tokenizer_free(t);
    en_meta_free(meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_drawn_from_the_model),
        cmocka_unit_test(answers_follow_requests_at_their_temperature),
        cmocka_unit_test(a_seed_gives_one_text),
        cmocka_unit_test(the_text_is_kept),
        cmocka_unit_test(a_longer_text_is_found),
        cmocka_unit_test(a_stopped_one_leaves_nothing),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
