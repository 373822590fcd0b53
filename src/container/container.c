/*
 * container.c - see container.h.
 *
 * The logical tensors are the file's tensors without the shared code tables, packed metadata and the
 * parts of an original.  In a container, type I8 is ours: each such tensor is a payload, a shared table or
 * such a part, so that a damaged one is noticed.
 */
#include "container/container.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "container/format_keys.h"
#include "container/packed_meta.h"
#include "container/payload.h"
#include "container/planes_payload.h"
#include "container/strip_payload.h"
#include "kernels/kernels.h"

struct en_container {
    const en_source *source;
    uint32_t n_tensors, n_coded;
    en_container_tensor *tensors;
    en_coded *coded;              /* one for each coded tensor, in order */
    en_code **own_codes;          /* parallel to 'coded'; NULL where the model's is used */
    en_strip_matrix **own_strips; /* likewise; NULL for codings 1 and 3 */
    en_planes **own_planes;       /* likewise; NULL for codings 1 and 2 */
    en_model_codes model;
    en_original *original;            /* NULL: none */
    const en_tensor *literals_tensor; /* of the original */
    uint64_t literals_hash;
    en_planes *literals;
    en_packed_meta meta;
};

bool en_container_is(const en_source *source)
{
    return en_meta_get(en_source_meta(source), EN_KEY_VERSION) != NULL;
}

void en_container_close(en_container *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n_coded; i++)
        en_code_free(c->own_codes[i]);
    for (uint32_t i = 0; i < c->n_coded; i++)
        en_strip_matrix_free(c->own_strips[i]);
    for (uint32_t i = 0; i < c->n_coded; i++)
        en_planes_free(c->own_planes[i]);
    en_planes_free(c->literals);
    en_packed_meta_close(&c->meta);
    en_original_free(c->original);
    en_code_free(c->model.code[0]);
    en_code_free(c->model.code[1]);
    en_free(c->own_codes);
    en_free(c->own_strips);
    en_free(c->own_planes);
    en_free(c->coded);
    en_free(c->tensors);
    en_free(c);
}

static entro_status check_version(const en_meta *meta, entro_error *err)
{
    uint32_t version = en_meta_u32(meta, EN_KEY_VERSION, 0);
    if (version == 0)
        return en_fail(err, ENTRO_ERR_FORMAT, EN_KEY_VERSION " is not a positive number");
    const en_meta_value *features = en_meta_get(meta, EN_KEY_FEATURES);
    if (features == NULL || features->is_array || features->type != EN_META_U64)
        return en_fail(err, ENTRO_ERR_FORMAT, "has no " EN_KEY_FEATURES " (u64)");
    uint64_t unknown = features->u & ~(uint64_t)EN_FEATURES_KNOWN;
    if (version > EN_CONTAINER_VERSION || unknown != 0)
        return en_fail(
            err, ENTRO_ERR_VERSION,
            "was made by a newer tool (format %u, unknown feature bits %llx); this program "
            "reads format %d; use a newer entrollm, or compress the original again",
            version, (unsigned long long)unknown, EN_CONTAINER_VERSION);
    return ENTRO_OK;
}

static entro_status find_hashes(const en_source *source, const en_meta_value **out,
                                entro_error *err)
{
    const en_meta_value *v = en_meta_get(en_source_meta(source), EN_KEY_HASHES);
    if (v == NULL || !v->is_array || v->type != EN_META_U64)
        return en_fail(err, ENTRO_ERR_FORMAT, "has no " EN_KEY_HASHES " (array of u64)");
    if (v->n != en_source_n_tensors(source))
        return en_fail(err, ENTRO_ERR_FORMAT, "has %llu checksums for %u tensors",
                       (unsigned long long)v->n, en_source_n_tensors(source));
    *out = v;
    return ENTRO_OK;
}

static entro_status compare_hash(const en_tensor *t, uint64_t expected, entro_error *err)
{
    uint64_t hash = en_hash64(t->data, (size_t)t->n_bytes);
    if (hash == expected)
        return ENTRO_OK;
    en_fail_at(err, ENTRO_ERR_CHECKSUM, t->offset,
               "checksum is %016llx, expected %016llx: the file is damaged; copy or make it again",
               (unsigned long long)hash, (unsigned long long)expected);
    en_error_place(err, "tensor '%s'", t->name);
    return ENTRO_ERR_CHECKSUM;
}

static entro_status fail_tensor(const en_tensor *t, entro_status status, entro_error *err)
{
    if (err != NULL && err->offset == EN_NO_OFFSET)
        err->offset = t->offset;
    en_error_place(err, "tensor '%s'", t->name);
    return status;
}

/* Which shared table this is (its bits), 0 when it is none. */
static unsigned table_bits(const char *name)
{
    if (strcmp(name, en_model_table_name(4)) == 0)
        return 4;
    return strcmp(name, en_model_table_name(8)) == 0 ? 8 : 0;
}

static bool is_original(const char *name)
{
    return strcmp(name, EN_ORIGINAL_FILES) == 0 || strcmp(name, EN_ORIGINAL_LITERALS) == 0;
}

/* Shared tables are small and everything hangs on them, so they are checked against their checksum
 * here already. */
static entro_status load_tables(en_container *c, const en_meta_value *hashes, entro_error *err)
{
    for (uint32_t i = 0; i < en_source_n_tensors(c->source); i++) {
        const en_tensor *t = en_source_tensor(c->source, i);
        unsigned bits = table_bits(t->name);
        if (bits == 0)
            continue;
        EN_TRY(compare_hash(t, en_load64(hashes->data + (size_t)i * 8), err));
        entro_status status = en_code_load(&c->model.code[en_model_codes_slot(bits)], 1u << bits,
                                           t->data, (size_t)t->n_bytes, err);
        if (status != ENTRO_OK)
            return fail_tensor(t, status, err);
    }
    return ENTRO_OK;
}

/* Weights, not bytes. */
static entro_status parse_planes(en_coded *coded, en_planes **own, const uint8_t *bytes,
                                 size_t n_bytes, entro_error *err)
{
    EN_TRY(en_planes_payload_parse(coded, own, bytes, n_bytes, err));
    if ((*own)->dtype != EN_DTYPE_I8)
        return ENTRO_OK;
    en_planes_free(*own);
    *own = NULL;
    return en_fail(err, ENTRO_ERR_FORMAT, "holds bytes, expected weights (damaged?)");
}

static entro_status add_coded(en_container *c, en_container_tensor *to, entro_error *err)
{
    en_coded *coded = &c->coded[c->n_coded];
    const uint8_t *bytes = to->tensor.data;
    size_t n_bytes = (size_t)to->tensor.n_bytes;
    uint32_t i = c->n_coded;
    entro_status status;
    if (en_strip_payload_is(bytes, n_bytes))
        status = en_strip_payload_parse(coded, &c->own_strips[i], bytes, n_bytes, err);
    else if (en_planes_payload_is(bytes, n_bytes))
        status = parse_planes(coded, &c->own_planes[i], bytes, n_bytes, err);
    else
        status = en_payload_parse(coded, &c->own_codes[i], bytes, n_bytes, &c->model, err);
    if (status != ENTRO_OK)
        return fail_tensor(&to->tensor, status, err);
    c->n_coded++;
    to->coded = coded;
    to->tensor.n_dims = 2;
    to->tensor.dims[0] = coded->n_cols;
    to->tensor.dims[1] = coded->n_rows;
    return ENTRO_OK;
}

static entro_status add_tensors(en_container *c, const en_meta_value *hashes, entro_error *err)
{
    for (uint32_t i = 0; i < en_source_n_tensors(c->source); i++) {
        const en_tensor *t = en_source_tensor(c->source, i);
        if (table_bits(t->name) != 0 || is_original(t->name) ||
            strcmp(t->name, EN_METADATA_TENSOR) == 0)
            continue;
        en_container_tensor *to = &c->tensors[c->n_tensors];
        *to = (en_container_tensor){
            .tensor = *t, .hash = en_load64(hashes->data + (size_t)i * 8), .number = i};
        if (t->dtype == EN_DTYPE_I8)
            EN_TRY(add_coded(c, to, err));
        c->n_tensors++;
    }
    return ENTRO_OK;
}

/* ---- the original ------------------------------------------------------------------------ */

uint64_t en_container_source_bytes(const en_container_tensor *t)
{
    if (t->coded == NULL)
        return t->tensor.n_bytes;
    const en_planes *m = t->coded->planes;
    return m != NULL ? m->n_rows * m->n_cols * m->n_planes : 0;
}

/* Can the tensor's rows be put in the order of heads of so many rows? */
static bool fits_heads(const en_tensor *t, uint32_t n_head_rows)
{
    uint64_t n_rows = t->n_dims == 1 ? t->dims[0] : t->dims[1];
    return n_head_rows == 0 || (t->n_dims <= 2 && n_rows % n_head_rows == 0 &&
                                (t->n_dims == 2 || en_dtype_get(t->dtype)->block_elems == 1));
}

static entro_status check_piece(const en_container *c, const en_piece *p, uint64_t *n_bytes,
                                entro_error *err)
{
    uint64_t here = p->n_bytes;
    if (p->kind == EN_PIECE_TENSOR) {
        const en_container_tensor *t = en_container_numbered(c, p->tensor);
        here = t != NULL ? en_container_source_bytes(t) : 0;
        if (here == 0 || !fits_heads(&t->tensor, p->n_head_rows))
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "a piece of an original file is tensor number %llu with heads of %u "
                           "rows, which the file does not hold like that (damaged?)",
                           (unsigned long long)p->tensor, p->n_head_rows);
    }
    if (__builtin_add_overflow(*n_bytes, here, n_bytes))
        return en_fail(err, ENTRO_ERR_FORMAT, "an original file is too large (damaged?)");
    return ENTRO_OK;
}

static entro_status check_original(const en_container *c, entro_error *err)
{
    const en_original *o = c->original;
    for (uint32_t i = 0; i < o->n_files; i++) {
        const en_original_file *f = &o->files[i];
        uint64_t n_bytes = 0;
        for (uint64_t k = 0; k < f->n_pieces; k++)
            EN_TRY(check_piece(c, &o->pieces[f->first_piece + k], &n_bytes, err));
        if (n_bytes != f->n_bytes)
            return en_fail(err, ENTRO_ERR_FORMAT,
                           "original file '%s' should have %llu bytes, its pieces have %llu "
                           "(damaged?)",
                           f->name, (unsigned long long)f->n_bytes, (unsigned long long)n_bytes);
    }
    uint64_t n_held = c->literals != NULL ? c->literals->n_rows : 0;
    if (n_held != o->n_literal_bytes)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "the original files take %llu literal bytes, " EN_ORIGINAL_LITERALS
                       " holds %llu (damaged?)",
                       (unsigned long long)o->n_literal_bytes, (unsigned long long)n_held);
    return ENTRO_OK;
}

static entro_status load_literals(en_container *c, const en_tensor *t, uint64_t hash,
                                  entro_error *err)
{
    en_coded coded;
    EN_TRY(en_planes_payload_parse(&coded, &c->literals, t->data, (size_t)t->n_bytes, err));
    c->literals_tensor = t;
    c->literals_hash = hash;
    if (c->literals->dtype != EN_DTYPE_I8 || c->literals->n_cols != 1)
        return en_fail(err, ENTRO_ERR_FORMAT, "holds no rows of single bytes (damaged?)");
    return ENTRO_OK;
}

/* The list of files is small and much hangs on it, so it is checked against its checksum here
 * already. */
static entro_status load_original(en_container *c, const en_meta_value *hashes, entro_error *err)
{
    const en_tensor *files = NULL;
    for (uint32_t i = 0; i < en_source_n_tensors(c->source); i++) {
        const en_tensor *t = en_source_tensor(c->source, i);
        uint64_t hash = en_load64(hashes->data + (size_t)i * 8);
        entro_status status = ENTRO_OK;
        if (!is_original(t->name))
            continue;
        if (strcmp(t->name, EN_ORIGINAL_LITERALS) == 0) {
            status = load_literals(c, t, hash, err);
        } else {
            files = t;
            EN_TRY(compare_hash(t, hash, err));
            status = en_original_parse(&c->original, t->data, (size_t)t->n_bytes, err);
        }
        if (status != ENTRO_OK)
            return fail_tensor(t, status, err);
    }
    entro_status status = c->original != NULL ? check_original(c, err) : ENTRO_OK;
    return status == ENTRO_OK ? ENTRO_OK : fail_tensor(files, status, err);
}

const en_original *en_container_original(const en_container *c)
{
    return c->original;
}

const en_planes *en_container_literals(const en_container *c)
{
    return c->literals;
}

const en_container_tensor *en_container_numbered(const en_container *c, uint64_t number)
{
    uint32_t first = 0, end = c->n_tensors; /* they are in the order of their numbers */
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (c->tensors[middle].number == number)
            return &c->tensors[middle];
        if (c->tensors[middle].number < number)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

entro_status en_container_check_literals(const en_container *c, entro_error *err)
{
    return c->literals != NULL ? compare_hash(c->literals_tensor, c->literals_hash, err) : ENTRO_OK;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* Packed keys join the source's.  They are small and much hangs on them, so they are checked against their
 * checksum here already. */
static entro_status load_meta(en_container *c, en_source *source, const en_meta_value *hashes,
                              entro_error *err)
{
    const en_tensor *t = en_source_find(source, EN_METADATA_TENSOR);
    if (t == NULL)
        return ENTRO_OK;
    size_t i = (size_t)(t - en_source_tensor(source, 0));
    EN_TRY(compare_hash(t, en_load64(hashes->data + i * 8), err));
    entro_status status = en_packed_meta_read(&c->meta, t->data, (size_t)t->n_bytes, err);
    if (status == ENTRO_OK)
        status = en_source_add_meta(source, c->meta.gguf.meta, err);
    return status == ENTRO_OK ? ENTRO_OK : fail_tensor(t, status, err);
}

static entro_status open_parts(en_container *c, en_source *source, entro_error *err)
{
    EN_TRY(check_version(en_source_meta(c->source), err));
    const en_meta_value *hashes = NULL;
    EN_TRY(find_hashes(c->source, &hashes, err));
    uint32_t n = en_source_n_tensors(c->source), n_i8 = 0;
    for (uint32_t i = 0; i < n; i++)
        n_i8 += en_source_tensor(c->source, i)->dtype == EN_DTYPE_I8;
    c->tensors = en_alloc_zero(n, sizeof *c->tensors);
    c->coded = en_alloc_zero(n_i8, sizeof *c->coded);
    c->own_codes = en_alloc_zero(n_i8, sizeof *c->own_codes);
    c->own_strips = en_alloc_zero(n_i8, sizeof *c->own_strips);
    c->own_planes = en_alloc_zero(n_i8, sizeof *c->own_planes);
    if (!c->tensors || !c->coded || !c->own_codes || !c->own_strips || !c->own_planes)
        return en_fail_memory(err);
    EN_TRY(load_tables(c, hashes, err));
    EN_TRY(add_tensors(c, hashes, err));
    EN_TRY(load_original(c, hashes, err));
    return load_meta(c, source, hashes, err); /* last: new keys move what 'hashes' points to */
}

static entro_status open_new(en_container **out, en_source *source, entro_error *err)
{
    if (!en_container_is(source))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "is not an EntroLLM container (no " EN_KEY_VERSION "); make one with "
                       "'entrollm compress'");
    en_container *c = en_alloc_zero(1, sizeof *c);
    if (c == NULL)
        return en_fail_memory(err);
    c->source = source;
    entro_status status = open_parts(c, source, err);
    if (status == ENTRO_OK)
        *out = c;
    else
        en_container_close(c);
    return status;
}

entro_status en_container_open(en_container **out, en_source *source, entro_error *err)
{
    entro_status status = open_new(out, source, err);
    if (status != ENTRO_OK)
        en_error_place(err, "%s", en_source_path(source));
    return status;
}

uint32_t en_container_n_tensors(const en_container *c)
{
    return c->n_tensors;
}

const en_container_tensor *en_container_tensor_at(const en_container *c, uint32_t i)
{
    return &c->tensors[i];
}

const en_container_tensor *en_container_find(const en_container *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensors[i].tensor.name, name) == 0)
            return &c->tensors[i];
    return NULL;
}

entro_status en_container_check_hash(const en_container *c, uint32_t i, entro_error *err)
{
    return compare_hash(&c->tensors[i].tensor, c->tensors[i].hash, err);
}

static void load_floats(const void *stored, bool half, uint64_t first, size_t n, float *out)
{
    en_dtype type = half ? EN_DTYPE_F16 : EN_DTYPE_F32;
    size_t each = half ? 2 : 4;
    if (stored != NULL)
        en_kernels_get()->dequantize[type]((const uint8_t *)stored + first * each, out, n);
    else
        memset(out, 0, n * sizeof *out);
}

void en_coded_grids(const en_coded *m, uint64_t first, size_t n, float *steps, float *offsets)
{
    bool one = m->n_grids == 1;
    load_floats(m->steps, m->half_grids, one ? 0 : first, one ? 1 : n, steps);
    load_floats(m->offsets, m->half_grids, one ? 0 : first, one ? 1 : n, offsets);
    for (size_t i = 1; one && i < n; i++) {
        steps[i] = steps[0];
        offsets[i] = offsets[0];
    }
}
