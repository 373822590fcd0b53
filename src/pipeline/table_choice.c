/* table_choice.c - see table_choice.h. */
#include "pipeline/table_choice.h"

#include <string.h>

#include "base/memory.h"

enum { PIECES = 16, PIECE = 4096, MAX_SAMPLES = 1 << 20 };

entro_status en_table_choice_open(en_table_choice *choice, const bool alphabets[2],
                                  entro_error *err)
{
    *choice = (en_table_choice){0};
    for (int slot = 0; slot < 2; slot++)
        if (alphabets[slot])
            EN_TRY(en_histogram_new(&choice->all[slot], slot == 1 ? 256 : 16, err));
    return ENTRO_OK;
}

void en_table_choice_close(en_table_choice *choice)
{
    for (size_t i = 0; i < choice->n_samples; i++)
        en_free(choice->samples[i].symbols);
    en_free(choice->samples);
    en_histogram_free(choice->all[0]);
    en_histogram_free(choice->all[1]);
    *choice = (en_table_choice){0};
}

/* Bytes of the sample, piece by piece as if each were a segment. */
static entro_status sample_bytes(const en_table_sample *s, const en_code *code, size_t *n_bytes,
                                 entro_error *err)
{
    uint8_t *out = en_alloc(en_code_encode_bound(code, PIECE), 1);
    if (out == NULL)
        return en_fail_memory(err);
    *n_bytes = 0;
    for (size_t i = 0; i < s->n_symbols; i += PIECE) {
        size_t n = s->n_symbols - i < PIECE ? s->n_symbols - i : PIECE;
        *n_bytes += en_code_encode(code, s->symbols + i, n, out);
    }
    en_free(out);
    return ENTRO_OK;
}

static void take_sample(en_table_sample *s, const uint8_t *codes, size_t n_codes)
{
    if (n_codes <= PIECES * PIECE) {
        memcpy(s->symbols, codes, n_codes);
        s->n_symbols = n_codes;
        return;
    }
    for (size_t i = 0; i < PIECES; i++)
        memcpy(s->symbols + i * PIECE, codes + (n_codes - PIECE) / (PIECES - 1) * i, PIECE);
    s->n_symbols = PIECES * PIECE;
}

entro_status en_table_choice_add(en_table_choice *choice, const en_quantizer *q, const en_code *own,
                                 entro_error *err)
{
    if (!en_grow((void **)&choice->samples, &choice->cap, choice->n_samples + 1, MAX_SAMPLES,
                 sizeof *choice->samples))
        return en_fail_memory(err);
    en_table_sample *s = &choice->samples[choice->n_samples];
    *s = (en_table_sample){.slot = en_model_codes_slot(q->plan.method->bits),
                           .n_weights = q->plan.n_rows * q->plan.n_cols,
                           .own_table_bytes = en_code_stored_bytes(own)};
    s->symbols = en_alloc(s->n_weights < PIECES * PIECE ? s->n_weights : PIECES * PIECE, 1);
    if (s->symbols == NULL)
        return en_fail_memory(err);
    choice->n_samples++;
    take_sample(s, q->codes, (size_t)s->n_weights);
    en_histogram_merge(choice->all[s->slot], q->histogram);
    return sample_bytes(s, own, &s->own_bytes, err);
}

entro_status en_table_choice_build(const en_table_choice *choice, en_model_codes *codes,
                                   entro_error *err)
{
    for (int slot = 0; slot < 2; slot++)
        if (choice->all[slot] != NULL)
            EN_TRY(en_code_build(&codes->code[slot], choice->all[slot], err));
    return ENTRO_OK;
}

entro_status en_table_choice_compare(const en_table_choice *choice, const en_model_codes *codes,
                                     double *more_bits, entro_error *err)
{
    *more_bits = 0;
    for (int slot = 0; slot < 2; slot++)
        if (codes->code[slot] != NULL)
            *more_bits += 8.0 * (double)en_code_stored_bytes(codes->code[slot]);
    for (size_t i = 0; i < choice->n_samples; i++) {
        const en_table_sample *s = &choice->samples[i];
        size_t shared_bytes = 0;
        EN_TRY(sample_bytes(s, codes->code[s->slot], &shared_bytes, err));
        *more_bits += 8.0 * ((double)shared_bytes - (double)s->own_bytes) * (double)s->n_weights /
                          (double)s->n_symbols -
                      8.0 * (double)s->own_table_bytes;
    }
    return ENTRO_OK;
}
