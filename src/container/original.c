/*
 * original.c - see original.h.
 *
 *   "EntroOrg" | u32 version, kind, n_files, 0 | u64 n_pieces |
 *   files:   u64 bytes, u64 checksum, u32 n_pieces, u32 n_name, name, zeros to 8
 *   pieces:  u32 kind, u32 head rows, u64 bytes or number of a tensor
 */
#include "container/original.h"

#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"

#define ULL(x) ((unsigned long long)(x))

static size_t padded(size_t n_name)
{
    return (n_name + 7) / 8 * 8;
}

bool en_original_name_fits(const char *name, size_t n_name)
{
    if (n_name == 0 || n_name > EN_ORIGINAL_MAX_NAME || name[0] == '.')
        return false;
    for (size_t i = 0; i < n_name; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 32 || c == 127 || c == '/' || c == '\\')
            return false;
    }
    return true;
}

/* ---- reading ----------------------------------------------------------------------------- */

static entro_status fail_short(entro_error *err)
{
    return en_fail(err, ENTRO_ERR_FORMAT, "the list of original files ends too early (damaged?)");
}

static entro_status read_head(en_original *o, en_reader *r, uint64_t *n_pieces, entro_error *err)
{
    const uint8_t *magic = en_reader_take(r, 8);
    if (magic == NULL || memcmp(magic, EN_ORIGINAL_MAGIC, 8) != 0)
        return en_fail(err, ENTRO_ERR_FORMAT, "does not start like a list of original files");
    uint32_t version = en_reader_u32(r), kind = en_reader_u32(r);
    o->n_files = en_reader_u32(r);
    uint32_t zero = en_reader_u32(r);
    *n_pieces = en_reader_u64(r);
    if (r->failed)
        return fail_short(err);
    if (version != EN_ORIGINAL_VERSION || kind > 1 || zero != 0)
        return en_fail(err, ENTRO_ERR_VERSION,
                       "list of original files in layout %u, of kind %u; this program reads layout "
                       "%d, kinds 0 and 1; use a newer entrollm",
                       version, kind, EN_ORIGINAL_VERSION);
    o->is_folder = kind == 1;
    if (o->n_files == 0 || o->n_files > (o->is_folder ? EN_ORIGINAL_MAX_FILES : 1) ||
        o->n_files > en_reader_left(r) / EN_ORIGINAL_FILE_BYTES ||
        *n_pieces > EN_ORIGINAL_MAX_PIECES ||
        *n_pieces > en_reader_left(r) / EN_ORIGINAL_PIECE_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT, "lists %u original files of %llu pieces in %zu bytes",
                       o->n_files, ULL(*n_pieces), r->n_bytes);
    return ENTRO_OK;
}

static entro_status read_file(en_original *o, uint32_t i, en_reader *r, entro_error *err)
{
    en_original_file *f = &o->files[i];
    f->n_bytes = en_reader_u64(r);
    f->hash = en_reader_u64(r);
    f->n_pieces = en_reader_u32(r);
    uint32_t n_name = en_reader_u32(r);
    const uint8_t *name = n_name <= EN_ORIGINAL_MAX_NAME ? en_reader_take(r, padded(n_name)) : NULL;
    if (name == NULL)
        return fail_short(err);
    if (!en_original_name_fits((const char *)name, n_name))
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "original file %u has a name that leads out of its folder, or that no file "
                       "should have (damaged, or made to do harm)",
                       i);
    memcpy(f->name, name, n_name);
    f->first_piece = o->n_pieces;
    o->n_pieces += f->n_pieces;
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(o->files[k].name, f->name) == 0)
            return en_fail(err, ENTRO_ERR_FORMAT, "two original files are named '%s'", f->name);
    return ENTRO_OK;
}

static entro_status read_piece(en_original *o, en_piece *p, en_reader *r, entro_error *err)
{
    uint32_t kind = en_reader_u32(r);
    p->n_head_rows = en_reader_u32(r);
    uint64_t value = en_reader_u64(r);
    p->kind = (en_piece_kind)kind;
    if (kind == EN_PIECE_TENSOR) {
        p->tensor = value;
        if (p->n_head_rows % 2 == 0)
            return ENTRO_OK;
    } else if (kind == EN_PIECE_LITERAL && p->n_head_rows == 0) {
        p->n_bytes = value;
        if (!__builtin_add_overflow(o->n_literal_bytes, value, &o->n_literal_bytes))
            return ENTRO_OK;
    }
    return en_fail(err, ENTRO_ERR_FORMAT,
                   "an original file has a piece of kind %u, head rows %u, value %llu", kind,
                   p->n_head_rows, ULL(value));
}

static entro_status parse(en_original *o, const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    en_reader r = en_reader_of(bytes, n_bytes);
    uint64_t n_pieces = 0;
    EN_TRY(read_head(o, &r, &n_pieces, err));
    o->files = en_alloc_zero(o->n_files, sizeof *o->files);
    o->pieces = en_alloc_zero((size_t)n_pieces, sizeof *o->pieces);
    if (o->files == NULL || o->pieces == NULL)
        return en_fail_memory(err);
    for (uint32_t i = 0; i < o->n_files; i++)
        EN_TRY(read_file(o, i, &r, err));
    if (o->n_pieces != n_pieces || en_reader_left(&r) != n_pieces * EN_ORIGINAL_PIECE_BYTES)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "the original files have %llu pieces, the list says %llu and has %zu bytes "
                       "of them",
                       ULL(o->n_pieces), ULL(n_pieces), en_reader_left(&r));
    for (uint64_t i = 0; i < n_pieces; i++)
        EN_TRY(read_piece(o, &o->pieces[i], &r, err));
    return ENTRO_OK;
}

entro_status en_original_parse(en_original **out, const uint8_t *bytes, size_t n_bytes,
                               entro_error *err)
{
    en_original *o = en_alloc_zero(1, sizeof *o);
    if (o == NULL)
        return en_fail_memory(err);
    entro_status status = parse(o, bytes, n_bytes, err);
    if (status == ENTRO_OK)
        *out = o;
    else
        en_original_free(o);
    return status;
}

void en_original_free(en_original *o)
{
    if (o == NULL)
        return;
    en_free(o->files);
    en_free(o->pieces);
    en_free(o);
}

/* ---- writing ----------------------------------------------------------------------------- */

size_t en_original_stored_bytes(const en_original *o)
{
    size_t n = EN_ORIGINAL_HEAD_BYTES + (size_t)o->n_pieces * EN_ORIGINAL_PIECE_BYTES;
    for (uint32_t i = 0; i < o->n_files; i++)
        n += EN_ORIGINAL_FILE_BYTES + padded(strlen(o->files[i].name));
    return n;
}

static uint8_t *store_file(const en_original_file *f, uint8_t *out)
{
    size_t n_name = strlen(f->name);
    en_store64(out, f->n_bytes);
    en_store64(out + 8, f->hash);
    en_store32(out + 16, (uint32_t)f->n_pieces);
    en_store32(out + 20, (uint32_t)n_name);
    memset(out + 24, 0, padded(n_name));
    memcpy(out + 24, f->name, n_name);
    return out + 24 + padded(n_name);
}

void en_original_store(const en_original *o, uint8_t *out)
{
    memcpy(out, EN_ORIGINAL_MAGIC, 8);
    en_store32(out + 8, EN_ORIGINAL_VERSION);
    en_store32(out + 12, o->is_folder);
    en_store32(out + 16, o->n_files);
    en_store32(out + 20, 0);
    en_store64(out + 24, o->n_pieces);
    out += EN_ORIGINAL_HEAD_BYTES;
    for (uint32_t i = 0; i < o->n_files; i++)
        out = store_file(&o->files[i], out);
    for (uint64_t i = 0; i < o->n_pieces; i++, out += EN_ORIGINAL_PIECE_BYTES) {
        const en_piece *p = &o->pieces[i];
        en_store32(out, (uint32_t)p->kind);
        en_store32(out + 4, p->n_head_rows);
        en_store64(out + 8, p->kind == EN_PIECE_LITERAL ? p->n_bytes : p->tensor);
    }
}
