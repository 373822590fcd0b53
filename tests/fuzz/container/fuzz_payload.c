/*
 * fuzz_payload.c - hostile containers: a whole file when the bytes start with "GGUF", a list of original
 * files when they start with "EntroOrg", packed metadata when with "EntroMet", else the payload of one coded
 * tensor.  Everything that
 * opens is decoded, up to a cap.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "container/packed_meta.h"
#include "container/payload.h"
#include "container/planes_payload.h"
#include "container/strip_payload.h"
#include "formats/gguf.h"
#include "fuzz_entry.h"

enum { MAX_SEGMENT = 1 << 15, MAX_SYMBOLS = 1 << 16 };

static void decode_strips(const en_strip_matrix *m)
{
    uint64_t n_chunk = (uint64_t)m->strips_per_chunk * EN_STRIP_ROWS * m->n_cols, n_all = 0;
    if (n_chunk > MAX_SEGMENT)
        return;
    int32_t *z = en_alloc((size_t)n_chunk, sizeof *z);
    uint8_t *units = en_alloc(en_strip_scratch_bytes(m), 1);
    for (uint32_t i = 0; z != NULL && units != NULL && i < m->n_chunks && n_all < MAX_SYMBOLS;
         i++) {
        en_strip_decode_chunk(m, i, units, z);
        n_all += n_chunk;
    }
    en_free(z);
    en_free(units);
}

static void decode_planes(const en_planes *m)
{
    size_t n_segment = en_planes_segment_elems(m), n_all = 0;
    if (n_segment > MAX_SEGMENT)
        return;
    uint8_t *room = en_alloc(en_planes_room_bytes(m), 1);
    uint8_t *numbers = en_alloc(n_segment, m->n_planes);
    for (uint32_t i = 0; room != NULL && numbers != NULL && i < m->n_segments; i++) {
        uint64_t left = (m->n_rows - (uint64_t)i * m->rows_per_segment) * m->n_cols;
        if (en_planes_decode(m, i, room))
            en_planes_join(m, i, room, 0, left < n_segment ? (size_t)left : n_segment, numbers);
        n_all += n_segment;
        if (n_all >= MAX_SYMBOLS)
            break;
    }
    en_free(room);
    en_free(numbers);
}

static void decode(const en_coded *m)
{
    if (m->planes != NULL) {
        decode_planes(m->planes);
        return;
    }
    if (m->strips != NULL) {
        decode_strips(m->strips);
        return;
    }
    uint64_t n_segment = m->rows_per_segment * m->n_cols, n_all = 0;
    if (n_segment > MAX_SEGMENT)
        return;
    for (uint64_t row = 0; row < m->n_grids; row++) {
        float step, offset;
        en_coded_grid(m, row, &step, &offset);
        if (!isfinite(step) || !isfinite(offset))
            __builtin_trap(); /* what opens has been checked */
    }
    /* Exactly the room promised, so that a sanitizer sees one byte more. */
    uint8_t *codes = en_alloc((size_t)n_segment + EN_CODE_OUT_SLACK, 1);
    if (codes == NULL)
        return;
    for (uint32_t i = 0; i < m->n_segments && n_all < MAX_SYMBOLS; i++) {
        en_coded_decode_segment(m, i, codes);
        n_all += n_segment;
        uint64_t n = en_coded_segment_rows(m, i) * m->n_cols;
        for (uint64_t k = 0; k < n; k++)
            if (codes[k] >> m->method->bits != 0)
                __builtin_trap(); /* even a damaged stream gives valid codes */
    }
    en_free(codes);
}

/* Whoever restores relies on this. */
static void check_original(const en_container *c)
{
    const en_original *o = en_container_original(c);
    for (uint32_t i = 0; o != NULL && i < o->n_files; i++) {
        const en_original_file *f = &o->files[i];
        uint64_t n = 0;
        if (!en_original_name_fits(f->name, strlen(f->name)))
            __builtin_trap();
        for (uint64_t k = f->first_piece; k < f->first_piece + f->n_pieces; k++) {
            const en_piece *p = &o->pieces[k];
            n += p->kind == EN_PIECE_LITERAL
                     ? p->n_bytes
                     : en_container_source_bytes(en_container_numbered(c, p->tensor));
        }
        if (n != f->n_bytes)
            __builtin_trap();
    }
}

static void open_file(const uint8_t *bytes, size_t n_bytes)
{
    en_gguf gguf = {0};
    entro_error err;
    if (en_gguf_parse(&gguf, bytes, n_bytes, &err) != ENTRO_OK)
        return;
    char path[] = "fuzz";
    en_source source = {.kind = EN_SOURCE_GGUF,
                        .path = path,
                        .meta = gguf.meta,
                        .tensors = gguf.tensors,
                        .n_tensors = gguf.n_tensors,
                        .file_bytes = n_bytes};
    en_container *c;
    if (en_container_open(&c, &source, &err) == ENTRO_OK) {
        for (uint32_t i = 0; i < en_container_n_tensors(c); i++) {
            const en_container_tensor *t = en_container_tensor_at(c, i);
            en_container_check_hash(c, i, &err);
            if (t->coded != NULL)
                decode(t->coded);
        }
        if (en_container_literals(c) != NULL)
            decode_planes(en_container_literals(c));
        en_container_check_literals(c, &err);
        check_original(c);
        en_container_close(c);
    }
    en_gguf_close(&gguf);
}

static void open_list(const uint8_t *bytes, size_t n_bytes)
{
    en_original *o;
    entro_error err;
    if (en_original_parse(&o, bytes, n_bytes, &err) != ENTRO_OK)
        return;
    if (en_original_stored_bytes(o) != n_bytes)
        __builtin_trap(); /* a list has one form, but for zeros behind names */
    en_original_free(o);
}

static void open_metadata(const uint8_t *bytes, size_t n_bytes)
{
    en_packed_meta p = {0};
    entro_error err;
    if (en_packed_meta_read(&p, bytes, n_bytes, &err) == ENTRO_OK)
        en_packed_meta_close(&p);
}

static void open_payload(const uint8_t *bytes, size_t n_bytes)
{
    static const en_model_codes none;
    en_coded coded;
    en_code *own;
    en_strip_matrix *strips;
    en_planes *planes;
    entro_error err;
    if (en_planes_payload_is(bytes, n_bytes)) {
        if (en_planes_payload_parse(&coded, &planes, bytes, n_bytes, &err) == ENTRO_OK)
            decode(&coded);
        en_planes_free(planes);
        return;
    }
    if (en_strip_payload_is(bytes, n_bytes)) {
        if (en_strip_payload_parse(&coded, &strips, bytes, n_bytes, &err) == ENTRO_OK)
            decode(&coded);
        en_strip_matrix_free(strips);
        return;
    }
    if (en_payload_parse(&coded, &own, bytes, n_bytes, &none, &err) == ENTRO_OK)
        decode(&coded);
    en_code_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    uint8_t *bytes = en_alloc(n_bytes, 1); /* aligned like a mapped file */
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, n_bytes);
    if (en_gguf_is(bytes, n_bytes))
        open_file(bytes, n_bytes);
    else if (n_bytes >= 8 && memcmp(bytes, EN_ORIGINAL_MAGIC, 8) == 0)
        open_list(bytes, n_bytes);
    else if (n_bytes >= 8 && memcmp(bytes, "EntroMet", 8) == 0)
        open_metadata(bytes, n_bytes);
    else
        open_payload(bytes, n_bytes);
    en_free(bytes);
    return 0;
}
