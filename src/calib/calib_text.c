/* calib_text.c - see calib_text.h. */
#include "calib/calib_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "calib/calib_file.h"

/* More than languages with few bytes a token need; of others there is then a choice. */
enum { BYTES_A_TOKEN = 16 };

typedef struct ids {
    int32_t *ids;
    size_t n, cap;
} ids;

typedef struct reading {
    const en_tokenizer *tokenizer;
    uint32_t n_positions;
    uint32_t n_text; /* tokens of text in a sequence: one less where BOS is in front */
    uint64_t n_sequences;
    size_t n_files;
    ids *files; /* tokens of each, and behind them, of what is left over */
} reading;

void en_calib_text_free(en_calib_text *text)
{
    en_free(text->tokens);
    *text = (en_calib_text){0};
}

static entro_status encode(ids *out, const en_tokenizer *tokenizer, const char *s, size_t n,
                           entro_error *err)
{
    size_t n_ids;
    EN_TRY(en_tokenizer_encode(tokenizer, s, n, false, false, NULL, 0, &n_ids, err));
    if (!en_grow((void **)&out->ids, &out->cap, out->n + n_ids, SIZE_MAX / 8, sizeof *out->ids))
        return en_fail_memory(err);
    EN_TRY(
        en_tokenizer_encode(tokenizer, s, n, false, false, out->ids + out->n, n_ids, &n_ids, err));
    out->n += n_ids;
    return ENTRO_OK;
}

static entro_status read_file(reading *r, size_t i, const char *path, entro_error *err)
{
    en_calib_string text = {0};
    uint64_t n_share = (r->n_sequences + r->n_files - 1) / r->n_files;
    size_t n_wanted = (size_t)(n_share * r->n_positions * BYTES_A_TOKEN);
    entro_status status = en_calib_file_read(&text, path, n_wanted, err);
    if (status == ENTRO_OK && text.n > 0)
        status = encode(&r->files[i], r->tokenizer, text.s, text.n, err);
    en_free(text.s);
    return status;
}

/* What is behind the last whole sequence of each file. */
static entro_status join_rest(reading *r, entro_error *err)
{
    ids *rest = &r->files[r->n_files];
    for (size_t i = 0; i < r->n_files; i++) {
        ids *f = &r->files[i];
        size_t n = f->n % r->n_text;
        if (!en_grow((void **)&rest->ids, &rest->cap, rest->n + n, SIZE_MAX / 8, sizeof *rest->ids))
            return en_fail_memory(err);
        if (n > 0)
            memcpy(rest->ids + rest->n, f->ids + (f->n - n), n * sizeof *rest->ids);
        rest->n += n;
        f->n -= n;
    }
    return ENTRO_OK;
}

/* How many sequences are taken of each file: as equal as they can be. */
static uint64_t share_out(const reading *r, uint64_t *taken)
{
    uint64_t n = 0;
    for (bool more = true; more && n < r->n_sequences;) {
        more = false;
        for (size_t i = 0; i <= r->n_files && n < r->n_sequences; i++) {
            if (taken[i] >= r->files[i].n / r->n_text)
                continue;
            taken[i]++;
            n++;
            more = true;
        }
    }
    return n;
}

/* Sequence 'i' of a file of which 'n_taken' are taken: they are spread over all of it. */
static void copy_sequence(const reading *r, const ids *file, uint64_t i, uint64_t n_taken,
                          int32_t *out)
{
    uint64_t n_there = file->n / r->n_text, at = i * n_there / n_taken;
    if (r->n_text < r->n_positions)
        *out++ = en_tokenizer_bos(r->tokenizer);
    memcpy(out, file->ids + at * r->n_text, r->n_text * sizeof *out);
}

static entro_status interleave(const reading *r, en_calib_text *text, entro_error *err)
{
    uint64_t *taken = en_alloc_zero(2 * (r->n_files + 1), sizeof *taken);
    if (taken == NULL)
        return en_fail_memory(err);
    uint64_t *next = taken + r->n_files + 1, n = share_out(r, taken), done = 0;
    text->tokens = en_alloc((size_t)n, r->n_positions * sizeof *text->tokens);
    if (text->tokens == NULL) {
        en_free(taken);
        return en_fail_memory(err);
    }
    while (done < n) { /* the file that is the furthest behind its share */
        size_t best = 0;
        double behind = 2;
        for (size_t i = 0; i <= r->n_files; i++) {
            double part = taken[i] > 0 ? ((double)next[i] + 0.5) / (double)taken[i] : 2;
            if (next[i] < taken[i] && part < behind) {
                behind = part;
                best = i;
            }
        }
        copy_sequence(r, &r->files[best], next[best]++, taken[best],
                      text->tokens + done++ * r->n_positions);
    }
    text->n_sequences = n;
    en_free(taken);
    return ENTRO_OK;
}

static void name_text(en_calib_text *text, const char *const *paths, size_t n_paths)
{
    size_t n = 0;
    for (size_t i = 0; i < n_paths && n < sizeof text->name; i++)
        n += (size_t)snprintf(text->name + n, sizeof text->name - n, "%s%s", i > 0 ? " + " : "",
                              en_path_base(paths[i]));
}

static entro_status read_all(reading *r, en_calib_text *text, const char *const *paths,
                             entro_error *err)
{
    size_t n_ids = 0;
    r->files = en_alloc_zero(r->n_files + 1, sizeof *r->files);
    if (r->files == NULL)
        return en_fail_memory(err);
    for (size_t i = 0; i < r->n_files; i++) {
        EN_TRY(read_file(r, i, paths[i], err));
        n_ids += r->files[i].n;
    }
    if (n_ids < r->n_text) {
        en_fail(err, ENTRO_ERR_ARGUMENT,
                "%s %zu tokens long, one sequence needs %" PRIu32 "; use a longer text",
                r->n_files == 1 ? "the calibration text is" : "the calibration texts together are",
                n_ids, r->n_text);
        en_error_place(err, "%s", r->n_files == 1 ? paths[0] : text->name);
        return ENTRO_ERR_ARGUMENT;
    }
    EN_TRY(join_rest(r, err));
    return interleave(r, text, err);
}

entro_status en_calib_text_read(en_calib_text *text, const char *const *paths, size_t n_paths,
                                const en_tokenizer *tokenizer, uint32_t n_positions,
                                uint64_t n_tokens, entro_error *err)
{
    *text = (en_calib_text){.n_positions = n_positions};
    if (n_positions < 2 || n_paths == 0)
        return en_fail(err, ENTRO_ERR_ARGUMENT,
                       "sequences of %" PRIu32
                       " tokens of %zu files, expected 2 or more of 1 or more",
                       n_positions, n_paths);
    bool bos = en_tokenizer_adds_bos(tokenizer) && en_tokenizer_bos(tokenizer) >= 0;
    reading r = {.tokenizer = tokenizer,
                 .n_positions = n_positions,
                 .n_text = bos ? n_positions - 1 : n_positions,
                 .n_sequences = (n_tokens + n_positions - 1) / n_positions,
                 .n_files = n_paths};
    name_text(text, paths, n_paths);
    entro_status status = read_all(&r, text, paths, err);
    for (size_t i = 0; r.files != NULL && i <= n_paths; i++)
        en_free(r.files[i].ids);
    en_free(r.files);
    if (status != ENTRO_OK)
        en_calib_text_free(text);
    return status;
}
