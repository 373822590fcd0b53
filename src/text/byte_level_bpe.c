/*
 * byte_level_bpe.c - GPT-2's family: words by the model's pre-tokenizer, then merges of bytes.
 *
 * Bytes that are not UTF-8 keep their values; only the pre-tokenizer sees each as U+FFFD.
 */
#include "base/memory.h"
#include "text/compose.h"
#include "text/tokenizer_parts.h"

static entro_status encode_words(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                 size_t n, en_id_sink *sink, entro_error *err)
{
    for (size_t i = 0, length; i < n; i += length) {
        length = t->pre->word(p + i, n - i, t->pre->max_numbers);
        EN_TRY(en_merge_word(&t->merges, scratch, p + i, length, sink, err));
    }
    return ENTRO_OK;
}

entro_status en_byte_level_encode(const en_tokenizer *t, en_merge_scratch *scratch, const char *p,
                                  size_t n, en_id_sink *sink, entro_error *err)
{
    char *composed = NULL;
    if (t->composes) {
        EN_TRY(en_compose(p, n, &composed, &n, err));
        if (composed != NULL)
            p = composed;
    }
    entro_status status = encode_words(t, scratch, p, n, sink, err);
    en_free(composed);
    return status;
}
