/* hf_normalizer.c - see hf_normalizer.h. */
#include "formats/hf_normalizer.h"

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* Is it one of the two steps that write spaces as SentencePiece does? */
static bool marks_spaces(const en_json_node *step)
{
    const en_json_node *type = en_json_get(step, "type");
    if (en_json_is(type, "Prepend"))
        return en_json_is(en_json_get(step, "prepend"), SPACE_MARK);
    return en_json_is(type, "Replace") &&
           en_json_is(en_json_get(en_json_get(step, "pattern"), "String"), " ") &&
           en_json_is(en_json_get(step, "content"), SPACE_MARK);
}

static entro_status read_step(const en_json_node *step, bool spm, bool *composes, entro_error *err)
{
    const en_json_node *type = en_json_get(step, "type");
    if (!spm && en_json_is(type, "NFC"))
        *composes = true;
    else if (!spm || !marks_spaces(step))
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "normalizer '%.60s' is not supported in front of %s; %s",
                       type != NULL && type->type == EN_JSON_STRING ? type->s : "none",
                       spm ? "SentencePiece's pieces" : "byte-level BPE",
                       spm ? "only spaces as ▁ are" : "only NFC is");
    return ENTRO_OK;
}

entro_status en_hf_normalizer_read(const en_json_node *normalizer, bool spm, bool *composes,
                                   entro_error *err)
{
    *composes = false;
    if (normalizer == NULL || normalizer->type != EN_JSON_OBJECT)
        return ENTRO_OK;
    if (!en_json_is(en_json_get(normalizer, "type"), "Sequence"))
        return read_step(normalizer, spm, composes, err);
    for (EN_JSON_EACH(step, en_json_get(normalizer, "normalizers")))
        EN_TRY(read_step(step, spm, composes, err));
    return ENTRO_OK;
}
