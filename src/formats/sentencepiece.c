/* sentencepiece.c - see sentencepiece.h. */
#include "formats/sentencepiece.h"

#include <math.h>

#include "base/memory.h"

enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

/* ---- protocol buffers ------------------------------------------------------------------------ */

/* One field: its number and, by wire type, an integer (also the bits of a float) or bytes. */
typedef struct field {
    uint64_t number;
    uint64_t integer;
    en_span bytes; /* {NULL, 0} when it is none */
} field;

static uint64_t read_varint(en_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = en_reader_u8(r);
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    r->failed = true;
    return 0;
}

/* False at the end and on damage; the reader's 'failed' tells them apart. */
static bool next_field(en_reader *r, field *f)
{
    if (r->failed || en_reader_left(r) == 0)
        return false;
    uint64_t tag = read_varint(r);
    *f = (field){.number = tag >> 3};
    switch (tag & 7) {
    case 0: f->integer = read_varint(r); break;
    case 1: f->integer = en_reader_u64(r); break;
    case 2: {
        uint64_t n = read_varint(r);
        const uint8_t *p = en_reader_take(r, n);
        f->bytes = (en_span){(const char *)p, p != NULL ? (size_t)n : 0};
        break;
    }
    case 5: f->integer = en_reader_u32(r); break;
    default: r->failed = true;
    }
    if (f->number == 0)
        r->failed = true;
    return !r->failed;
}

static entro_status damaged(const en_reader *r, entro_error *err)
{
    return en_fail_at(err, ENTRO_ERR_FORMAT, r->pos,
                      "is no SentencePiece model: damaged at byte %zu of %zu (truncated download?)",
                      r->pos, r->n_bytes);
}

/* ---- the model ------------------------------------------------------------------------------- */

static entro_status read_piece(en_sentencepiece *sp, en_span bytes, entro_error *err)
{
    en_reader r = en_reader_of(bytes.p, bytes.n);
    en_spm_piece piece = {.kind = EN_HF_TOKEN_NORMAL};
    for (field f; next_field(&r, &f);) {
        uint32_t bits = (uint32_t)f.integer;
        if (f.number == 1)
            piece.text = f.bytes;
        else if (f.number == 2)
            memcpy(&piece.score, &bits, sizeof bits);
        else if (f.number == 3)
            piece.kind = (en_hf_token_kind)bits;
    }
    if (r.failed || piece.text.n == 0 || !isfinite(piece.score) ||
        piece.kind < EN_HF_TOKEN_NORMAL || piece.kind > EN_HF_TOKEN_BYTE)
        return en_fail(err, ENTRO_ERR_FORMAT, "is no SentencePiece model: piece %zu is damaged",
                       sp->n_pieces);
    if (!en_grow((void **)&sp->pieces, &sp->cap_pieces, sp->n_pieces + 1, EN_HF_MAX_VOCAB,
                 sizeof *sp->pieces))
        return en_fail_memory(err);
    sp->pieces[sp->n_pieces++] = piece;
    return ENTRO_OK;
}

/* What decides whether the model can be used at all. */
typedef struct kind_of_model {
    uint64_t type;
    bool spaces_behind; /* "word▁" instead of "▁word" */
    bool plain_spaces;  /* " word" instead of "▁word" */
} kind_of_model;

static bool read_trainer(en_sentencepiece *sp, en_span bytes, kind_of_model *kind)
{
    en_reader r = en_reader_of(bytes.p, bytes.n);
    for (field f; next_field(&r, &f);) {
        int32_t id = (int32_t)(uint32_t)f.integer;
        switch (f.number) {
        case 3: kind->type = f.integer; break;
        case 24: kind->spaces_behind = f.integer != 0; break;
        case 40: sp->unk_id = id; break;
        case 41: sp->bos_id = id; break;
        case 42: sp->eos_id = id; break;
        case 43: sp->pad_id = id; break;
        default: break;
        }
    }
    return !r.failed;
}

static bool read_normalizer(en_sentencepiece *sp, en_span bytes, kind_of_model *kind)
{
    en_reader r = en_reader_of(bytes.p, bytes.n);
    for (field f; next_field(&r, &f);) {
        switch (f.number) {
        case 2: sp->charsmap = f.bytes; break;
        case 3: sp->add_dummy_prefix = f.integer != 0; break;
        case 4: sp->remove_extra_whitespaces = f.integer != 0; break;
        case 5: kind->plain_spaces = f.integer == 0; break;
        default: break;
        }
    }
    return !r.failed;
}

static entro_status parse(en_sentencepiece *sp, const uint8_t *data, size_t n_bytes,
                          entro_error *err)
{
    en_reader r = en_reader_of(data, n_bytes);
    kind_of_model kind = {.type = MODEL_UNIGRAM}; /* unless it says otherwise */
    for (field f; next_field(&r, &f);) {
        if (f.number == 1)
            EN_TRY(read_piece(sp, f.bytes, err));
        else if ((f.number == 2 && !read_trainer(sp, f.bytes, &kind)) ||
                 (f.number == 3 && !read_normalizer(sp, f.bytes, &kind)))
            return damaged(&r, err);
    }
    if (r.failed)
        return damaged(&r, err);
    if (sp->n_pieces == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "is no SentencePiece model: it has no pieces");
    if (kind.type != MODEL_BPE)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "SentencePiece model of type %s; BPE models can be used",
                       kind.type == MODEL_UNIGRAM ? "unigram" : "word or char");
    if (kind.spaces_behind || kind.plain_spaces)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED, "SentencePiece model with %s set; %s",
                       kind.spaces_behind ? "treat_whitespace_as_suffix"
                                          : "escape_whitespaces = false",
                       "models that write a space as ▁ in front of a word can be used");
    return ENTRO_OK;
}

entro_status en_sentencepiece_parse(en_sentencepiece *sp, const uint8_t *data, size_t n_bytes,
                                    entro_error *err)
{
    *sp = (en_sentencepiece){.unk_id = 0,
                             .bos_id = 1,
                             .eos_id = 2,
                             .pad_id = -1,
                             .add_dummy_prefix = true,
                             .remove_extra_whitespaces = true};
    entro_status status = parse(sp, data, n_bytes, err);
    if (status != ENTRO_OK)
        en_sentencepiece_free(sp);
    return status;
}

void en_sentencepiece_free(en_sentencepiece *sp)
{
    en_free(sp->pieces);
    *sp = (en_sentencepiece){0};
}
