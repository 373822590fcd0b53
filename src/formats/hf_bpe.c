/* hf_bpe.c - see hf_bpe.h. */
#include "formats/hf_bpe.h"

#include <stdio.h>

#include "base/memory.h"
#include "formats/name_index.h"

/* ---- which pre-tokenizer? -------------------------------------------------------------------- */

#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define AFTER_WORDS  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CL100K_START "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
/* Words that begin where case says so, each with what may follow it; then numbers and the rest. */
#define CASED_WORDS(after)                                                                         \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" after "|"                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "*" after "|"
#define AFTER_CASED    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_PATTERN  CASED_WORDS("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "\\p{N}{1,3}|" AFTER_CASED
#define TEKKEN_PATTERN CASED_WORDS("") "\\p{N}|" AFTER_CASED

/* What a "pre_tokenizer" of tokenizer.json amounts to. */
typedef struct splitting {
    bool digits;         /* each digit alone, before anything else */
    const char *pattern; /* of a Split; NULL: none */
    bool byte_level;
    bool gpt2_pattern; /* ByteLevel splits by GPT-2's pattern itself */
    bool other;        /* something that no known model does */
} splitting;

/* GGUF's names, as llama.cpp defines them. */
static const struct {
    const char *name;
    bool digits;
    const char *pattern;
    bool gpt2_pattern;
    int ignores_merges; /* whole words in the vocabulary are taken at once; -1: either */
} known_splittings[] = {
    {"gpt-2", false, NULL, true, -1},
    {"gpt-2", false, GPT2_PATTERN, false, -1},
    {"smollm", true, NULL, true, -1},
    {"llama-bpe", false, CL100K_START "\\p{N}{1,3}|" AFTER_WORDS, false, 1},
    {"dbrx", false, CL100K_START "\\p{N}{1,3}|" AFTER_WORDS, false, 0},
    {"qwen2", false, CL100K_START "\\p{N}|" AFTER_WORDS, false, -1},
    {"gpt-4o", false, O200K_PATTERN, false, 0},
    {"tekken", false, TEKKEN_PATTERN, false, -1},
};

/* Does a Split keep every piece of a text, matched or not?  (All patterns we know match all of it,
 * so that taking away what they do not match takes nothing away.) */
static bool keeps_all(const en_json_node *split)
{
    const en_json_node *behavior = en_json_get(split, "behavior");
    bool invert = false;
    en_json_bool(en_json_get(split, "invert"), &invert);
    return en_json_is(behavior, "Isolated") || (en_json_is(behavior, "Removed") && invert);
}

static void add_step(splitting *s, const en_json_node *step)
{
    const en_json_node *type = en_json_get(step, "type");
    bool flag;
    if (en_json_is(type, "Sequence")) {
        for (EN_JSON_EACH(inner, en_json_get(step, "pretokenizers"))) {
            if (en_json_is(en_json_get(inner, "type"), "Sequence"))
                s->other = true;
            else
                add_step(s, inner);
        }
    } else if (en_json_is(type, "Digits")) {
        flag = false;
        en_json_bool(en_json_get(step, "individual_digits"), &flag);
        s->other |= !flag || s->pattern != NULL || s->byte_level;
        s->digits = true;
    } else if (en_json_is(type, "Split")) {
        const en_json_node *regex = en_json_get(en_json_get(step, "pattern"), "Regex");
        s->other |= s->pattern != NULL || s->byte_level || regex == NULL ||
                    regex->type != EN_JSON_STRING || !keeps_all(step);
        s->pattern = s->other ? s->pattern : regex->s;
    } else if (en_json_is(type, "ByteLevel")) {
        s->gpt2_pattern = true;
        en_json_bool(en_json_get(step, "use_regex"), &s->gpt2_pattern);
        s->other |= s->byte_level;
        s->byte_level = true;
    } else {
        s->other = true;
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static entro_status name_splitting(const splitting *s, bool ignores_merges, const char **name,
                                   entro_error *err)
{
    for (size_t i = 0; i < sizeof known_splittings / sizeof *known_splittings; i++) {
        if (!s->other && s->byte_level && known_splittings[i].digits == s->digits &&
            known_splittings[i].gpt2_pattern == s->gpt2_pattern &&
            same_text(known_splittings[i].pattern, s->pattern) &&
            (known_splittings[i].ignores_merges < 0 ||
             known_splittings[i].ignores_merges == ignores_merges)) {
            *name = known_splittings[i].name;
            return ENTRO_OK;
        }
    }
    return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                   "pre-tokenizer that is not one of gpt-2, smollm, llama-bpe, dbrx, qwen2, "
                   "gpt-4o, tekken (pattern: %.200s)",
                   s->pattern != NULL ? s->pattern : "none");
}

/* ---- merges ------------------------------------------------------------------------------------ */

/* Two spans of one merge: "a b", or ["a", "b"] as newer files have it. */
static bool split_merge(const en_json_node *merge, en_span *left, en_span *right)
{
    if (merge->type == EN_JSON_ARRAY)
        return merge->n == 2 && en_json_string(merge + 1, left) && left->n > 0 &&
               en_json_string(merge + 2, right) && right->n > 0;
    en_span text;
    if (!en_json_string(merge, &text))
        return false;
    const char *space = memchr(text.p, ' ', text.n);
    if (space == NULL || space == text.p || space == text.p + text.n - 1)
        return false;
    *left = (en_span){text.p, (size_t)(space - text.p)};
    *right = (en_span){space + 1, text.n - left->n - 1};
    return true;
}

static char *put_part(char *out, en_span part)
{
    memcpy(out, part.p, part.n);
    return out + part.n;
}

/* All merges as "a b", and for the second family what each makes. */
typedef struct merge_list {
    en_span *texts;
    char *bytes;
    size_t n;
} merge_list;

static void free_merges(merge_list *m)
{
    en_free(m->texts);
    en_free(m->bytes);
    *m = (merge_list){0};
}

static entro_status read_merges(merge_list *m, const en_json_node *merges, entro_error *err)
{
    en_span left, right;
    size_t n_bytes = 0;
    *m = (merge_list){0};
    if (merges == NULL || merges->type != EN_JSON_ARRAY)
        return en_fail(err, ENTRO_ERR_FORMAT, "BPE model without 'merges'");
    for (EN_JSON_EACH(merge, merges)) {
        if (!split_merge(merge, &left, &right))
            return en_fail(err, ENTRO_ERR_FORMAT, "merge %zu is not a pair of texts", m->n);
        if (memchr(left.p, ' ', left.n) != NULL || memchr(right.p, ' ', right.n) != NULL)
            return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                           "merge %zu joins texts that hold spaces, which GGUF cannot express",
                           m->n);
        n_bytes += left.n + right.n + 1; /* less than the file */
        m->n++;
    }
    m->texts = en_alloc(m->n, sizeof *m->texts);
    m->bytes = en_alloc(n_bytes, 1);
    if (m->texts == NULL || m->bytes == NULL) {
        free_merges(m);
        return en_fail_memory(err);
    }
    char *out = m->bytes;
    size_t i = 0;
    for (EN_JSON_EACH(merge, merges)) {
        split_merge(merge, &left, &right);
        char *start = out;
        out = put_part(out, left);
        *out++ = ' ';
        out = put_part(out, right);
        m->texts[i++] = (en_span){start, (size_t)(out - start)};
    }
    return ENTRO_OK;
}

static entro_status write_merges(const merge_list *m, en_meta *meta, entro_error *err)
{
    en_meta_value value = {
        .type = EN_META_STRING, .is_array = true, .n = m->n, .strings = m->texts};
    return en_meta_set(meta, "tokenizer.ggml.merges", &value, err);
}

/* Scores by the first merge that makes a piece; 'index' knows the pieces. */
static entro_status score_pieces(en_hf_vocab *v, const en_name_index *index, const merge_list *m,
                                 entro_error *err)
{
    char *joined = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < v->n; i++)
        v->scores[i] = v->kinds[i] == EN_HF_TOKEN_NORMAL ? -(float)m->n : v->scores[i];
    for (size_t i = 0; i < m->n; i++) {
        en_span text = m->texts[i]; /* one byte longer than the piece, as the end mark needs */
        if (!en_grow((void **)&joined, &cap, text.n, SIZE_MAX, 1)) {
            en_free(joined);
            return en_fail_memory(err);
        }
        size_t n_left = (size_t)((const char *)memchr(text.p, ' ', text.n) - text.p);
        memcpy(joined, text.p, n_left);
        memcpy(joined + n_left, text.p + n_left + 1, text.n - n_left - 1);
        joined[text.n - 1] = '\0';
        uint32_t id = en_name_index_find(index, joined);
        if (id != EN_NAME_NONE && v->scores[id] == -(float)m->n)
            v->scores[id] = -(float)i;
    }
    en_free(joined);
    return ENTRO_OK;
}

static entro_status score_by_merges(en_hf_vocab *v, const merge_list *m, entro_error *err)
{
    en_name_index index = {0};
    entro_status status = en_name_index_reserve(&index, v->n) ? ENTRO_OK : en_fail_memory(err);
    /* Texts that come from JSON are terminated. */
    for (uint32_t i = 0; status == ENTRO_OK && i < v->n; i++)
        if (v->kinds[i] == EN_HF_TOKEN_NORMAL &&
            en_name_index_find(&index, v->texts[i].p) == EN_NAME_NONE)
            en_name_index_add(&index, v->texts[i].p, i); /* the room is reserved */
    if (status == ENTRO_OK)
        status = score_pieces(v, &index, m, err);
    en_name_index_free(&index);
    return status;
}

/* ---- vocabulary ---------------------------------------------------------------------------- */

/* Ids of the vocabulary and of added tokens decide the size when the model does not.  They are
 * dense but for a few; an id far beyond the others is left out rather than made room for. */
static uint32_t count_ids(const en_json_node *vocab, const en_json_node *added)
{
    enum { HOLES = 1024 };
    int64_t n = 0, id, n_max = (int64_t)vocab->n + HOLES;
    if (added != NULL && added->type == EN_JSON_ARRAY)
        n_max += added->n;
    for (EN_JSON_MEMBERS(key, vocab))
        if (en_json_int(key + 1, &id) && id >= n && id < n_max)
            n = id + 1;
    for (EN_JSON_EACH(token, added))
        if (en_json_int(en_json_get(token, "id"), &id) && id >= n && id < n_max)
            n = id + 1;
    return (uint32_t)n;
}

static entro_status read_vocab(en_hf_vocab *v, const en_json_node *vocab, const en_json_node *added,
                               const en_json_node *unknown, uint32_t n_vocab, entro_error *err)
{
    if (vocab == NULL || vocab->type != EN_JSON_OBJECT || vocab->n == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "BPE model without 'vocab'");
    EN_TRY(en_hf_vocab_new(v, n_vocab > 0 ? n_vocab : count_ids(vocab, added), err));
    for (EN_JSON_MEMBERS(key, vocab)) {
        int64_t id;
        if (!en_json_int(key + 1, &id) || id < 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "token '%.60s' has no id", key->s);
        en_hf_vocab_set(v, id, (en_span){key->s, key->n}, EN_HF_TOKEN_NORMAL, 0);
        if (unknown != NULL && en_json_is(unknown, key->s) && id < v->n)
            v->kinds[id] = EN_HF_TOKEN_UNKNOWN;
    }
    return ENTRO_OK;
}

static void mark_byte_tokens(en_hf_vocab *v)
{
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->kinds[i] == EN_HF_TOKEN_NORMAL && en_hf_is_byte_token(v->texts[i])) {
            v->kinds[i] = EN_HF_TOKEN_BYTE;
            v->scores[i] = 0;
        }
    }
}

static entro_status set_family(en_meta *meta, const char *model, const char *pre, entro_error *err)
{
    EN_TRY(en_meta_set_string(meta, "tokenizer.ggml.model", model, err));
    return en_meta_set_string(meta, "tokenizer.ggml.pre", pre, err);
}

entro_status en_hf_bpe_read(en_hf_vocab *v, const en_json_node *tokenizer, uint32_t n_vocab,
                            en_meta *meta, bool *spm, entro_error *err)
{
    const en_json_node *model = en_json_get(tokenizer, "model");
    const en_json_node *type = en_json_get(model, "type");
    if (model == NULL || (type != NULL && !en_json_is(type, "BPE")))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "tokenizer model '%.60s'; BPE can be used",
                       type != NULL && type->type == EN_JSON_STRING ? type->s : "none");
    const char *pre = "default";
    bool ignores_merges = false;
    *spm = false;
    en_json_bool(en_json_get(model, "byte_fallback"), spm);
    en_json_bool(en_json_get(model, "ignore_merges"), &ignores_merges);
    if (!*spm) {
        splitting s = {0};
        add_step(&s, en_json_get(tokenizer, "pre_tokenizer"));
        EN_TRY(name_splitting(&s, ignores_merges, &pre, err));
    }
    EN_TRY(read_vocab(v, en_json_get(model, "vocab"), en_json_get(tokenizer, "added_tokens"),
                      *spm ? en_json_get(model, "unk_token") : NULL, n_vocab, err));
    EN_TRY(set_family(meta, *spm ? "llama" : "gpt2", pre, err));
    merge_list merges;
    EN_TRY(read_merges(&merges, en_json_get(model, "merges"), err));
    entro_status status = write_merges(&merges, meta, err);
    if (status == ENTRO_OK && *spm) {
        mark_byte_tokens(v);
        status = score_by_merges(v, &merges, err);
    }
    free_merges(&merges);
    return status;
}

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

/* One "a b" a line; lines that start with "#version" are not merges. */
static entro_status read_merge_lines(merge_list *m, en_span text, entro_error *err)
{
    size_t n_lines = 1;
    *m = (merge_list){0};
    for (size_t i = 0; i < text.n; i++)
        n_lines += text.p[i] == '\n';
    m->texts = en_alloc(n_lines, sizeof *m->texts);
    if (m->texts == NULL)
        return en_fail_memory(err);
    for (size_t pos = 0, line = 1; pos < text.n; line++) {
        const char *start = text.p + pos, *end = memchr(start, '\n', text.n - pos);
        en_span s = {start, end != NULL ? (size_t)(end - start) : text.n - pos};
        pos += s.n + 1;
        if (s.n > 0 && s.p[s.n - 1] == '\r')
            s.n--;
        if (s.n == 0 || (s.n >= 8 && memcmp(s.p, "#version", 8) == 0))
            continue;
        const char *space = memchr(s.p, ' ', s.n);
        size_t n_left = space != NULL ? (size_t)(space - s.p) : 0;
        if (n_left == 0 || n_left + 1 == s.n || memchr(space + 1, ' ', s.n - n_left - 1) != NULL) {
            free_merges(m);
            return en_fail(err, ENTRO_ERR_FORMAT, "merges.txt: line %zu is not a pair of texts",
                           line);
        }
        m->texts[m->n++] = s;
    }
    return ENTRO_OK;
}

entro_status en_hf_bpe_read_pair(en_hf_vocab *v, const en_json_node *vocab, en_span merges,
                                 const en_json_node *tokenizer_class, uint32_t n_vocab,
                                 en_meta *meta, entro_error *err)
{
    bool qwen2 = en_json_is(tokenizer_class, "Qwen2Tokenizer") ||
                 en_json_is(tokenizer_class, "Qwen2TokenizerFast");
    EN_TRY(read_vocab(v, vocab, NULL, NULL, n_vocab, err));
    EN_TRY(set_family(meta, "gpt2", qwen2 ? "qwen2" : "gpt-2", err));
    merge_list list;
    EN_TRY(read_merge_lines(&list, merges, err));
    entro_status status = write_merges(&list, meta, err);
    free_merges(&list);
    return status;
}
