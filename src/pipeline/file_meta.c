/* file_meta.c - see file_meta.h. */
#include "pipeline/file_meta.h"

#include <string.h>

#include "container/format_keys.h"

static bool is_dropped(const char *key)
{
    return strncmp(key, EN_KEY_PREFIX, strlen(EN_KEY_PREFIX)) == 0 ||
           strncmp(key, "split.", 6) == 0 || strcmp(key, "general.file_type") == 0 ||
           strcmp(key, "general.alignment") == 0;
}

static entro_status copy_keys(en_meta *to, const en_meta *from, entro_error *err)
{
    for (size_t i = 0; i < en_meta_count(from); i++) {
        const char *key = en_meta_key(from, i);
        if (!is_dropped(key))
            EN_TRY(en_meta_set_borrowed(to, key, en_meta_at(from, i), err));
    }
    return ENTRO_OK;
}

entro_status en_file_meta_copy(en_meta **out, const en_source *source, entro_error *err)
{
    en_meta *meta;
    EN_TRY(en_meta_new(&meta, err));
    entro_status status = copy_keys(meta, en_source_meta(source), err);
    if (status != ENTRO_OK) {
        en_meta_free(meta);
        return status;
    }
    *out = meta;
    return ENTRO_OK;
}

entro_status en_file_meta_compare(const en_meta *file, const en_source *source, entro_error *err)
{
    const en_meta *meta = en_source_meta(source);
    for (size_t i = 0; i < en_meta_count(meta); i++) {
        const char *key = en_meta_key(meta, i);
        if (is_dropped(key))
            continue;
        const en_meta_value *theirs = en_meta_at(meta, i), *ours = en_meta_get(file, key);
        if (ours != NULL && en_meta_equal(ours, theirs))
            continue;
        char is[80] = "nothing", expected[80];
        if (ours != NULL)
            en_meta_format(ours, is, sizeof is);
        en_meta_format(theirs, expected, sizeof expected);
        return en_fail(err, ENTRO_ERR_MISMATCH,
                       "metadata '%s' is %s, the source has %s%s: damaged, or not made from it",
                       key, is, expected,
                       strcmp(is, expected) == 0 ? " and differs further on" : "");
    }
    return ENTRO_OK;
}

entro_status en_file_meta_set_u64(en_meta *meta, const char *key, uint64_t value, entro_error *err)
{
    en_meta_value v = {.type = EN_META_U64, .n = 1, .u = value};
    return en_meta_set(meta, key, &v, err);
}
