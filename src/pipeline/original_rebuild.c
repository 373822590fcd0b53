/* original_rebuild.c - see original_rebuild.h. */
#include "pipeline/original_rebuild.h"

#include <string.h>

#include "base/memory.h"

enum { PIECE_BYTES = 8 << 20 }; /* that are decoded or written between two looks at progress */

entro_status en_rebuild_open(en_rebuild *r, const en_source *source, const en_container *container,
                             en_job *job, entro_error *err)
{
    const en_planes *m = en_container_literals(container);
    *r = (en_rebuild){.source = source, .container = container, .job = job};
    r->hash = en_hash_new();
    if (r->hash == NULL)
        return en_fail_memory(err);
    if (m == NULL) /* only empty files */
        return ENTRO_OK;
    r->room = en_alloc(en_planes_room_bytes(m), 1);
    r->literals = en_alloc(en_planes_segment_elems(m), 1);
    return r->room != NULL && r->literals != NULL ? ENTRO_OK : en_fail_memory(err);
}

void en_rebuild_close(en_rebuild *r)
{
    en_weight_rows_scratch_free(&r->scratch);
    en_hash_free(r->hash);
    en_free(r->buffer);
    en_free(r->head);
    en_free(r->room);
    en_free(r->literals);
    *r = (en_rebuild){0};
}

/* At least n bytes; the old contents may go. */
static entro_status reserve(uint8_t **bytes, size_t *cap, size_t n, entro_error *err)
{
    if (*cap >= n)
        return ENTRO_OK;
    en_free(*bytes);
    *bytes = en_alloc(n, 1);
    *cap = *bytes != NULL ? n : 0;
    return *bytes != NULL ? ENTRO_OK : en_fail_memory(err);
}

static entro_status put(en_rebuild *r, const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    en_hash_add(r->hash, bytes, n_bytes);
    if (r->out != NULL)
        EN_TRY(en_output_write(r->out, bytes, n_bytes, err));
    r->done += n_bytes;
    return en_job_reach(r->job, r->name, r->done, err);
}

/* ---- literal bytes ------------------------------------------------------------------------- */

static entro_status decode_literals(en_rebuild *r, entro_error *err)
{
    const en_planes *m = en_container_literals(r->container);
    uint64_t left = m->n_rows - (uint64_t)r->next_segment * m->rows_per_segment;
    r->n_literals = (size_t)(left < m->rows_per_segment ? left : m->rows_per_segment);
    r->next_literal = 0;
    if (!en_planes_decode(m, r->next_segment, r->room)) {
        en_fail(err, ENTRO_ERR_CHECKSUM,
                "segment %u of %u does not decode: the file is damaged; copy or make it again",
                r->next_segment, m->n_segments);
        en_error_place(err, "tensor '" EN_ORIGINAL_LITERALS "'");
        return ENTRO_ERR_CHECKSUM;
    }
    en_planes_join(m, r->next_segment++, r->room, 0, r->n_literals, r->literals);
    return ENTRO_OK;
}

/* There are as many as all pieces take. */
static entro_status put_literal(en_rebuild *r, uint64_t n_bytes, entro_error *err)
{
    while (n_bytes > 0) {
        if (r->next_literal == r->n_literals)
            EN_TRY(decode_literals(r, err));
        size_t n = r->n_literals - r->next_literal;
        n = n < n_bytes ? n : (size_t)n_bytes;
        EN_TRY(put(r, r->literals + r->next_literal, n, err));
        r->next_literal += n;
        n_bytes -= n;
    }
    return ENTRO_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

typedef struct decoding {
    en_rebuild *rebuild;
    const en_weight_rows *weights;
    uint32_t first;
    size_t block_bytes; /* of all blocks but the last */
} decoding;

static entro_status decode_block(void *context, uint32_t block, uint32_t thread, entro_error *err)
{
    decoding *d = context;
    return en_weight_rows_read_bytes(d->weights, block,
                                     d->rebuild->buffer + (block - d->first) * d->block_bytes,
                                     &d->rebuild->scratch, thread, err);
}

/* n blocks to the buffer. */
static entro_status decode_blocks(en_rebuild *r, const en_weight_rows *w, uint32_t first,
                                  uint32_t n, size_t *n_bytes, entro_error *err)
{
    decoding d = {r, w, first, en_weight_rows_block_bytes(w, 0)};
    if (!en_mul(d.block_bytes, n - 1, n_bytes) ||
        !en_add(*n_bytes, en_weight_rows_block_bytes(w, first + n - 1), n_bytes))
        return en_fail_memory(err);
    EN_TRY(reserve(&r->buffer, &r->buffer_cap, *n_bytes, err));
    return en_job_run(r->job, decode_block, &d, first, n, err);
}

/* Bytes in the container's order, piece by piece. */
static entro_status put_plain(en_rebuild *r, const uint8_t *bytes, size_t n_bytes, entro_error *err)
{
    for (size_t i = 0; i < n_bytes; i += PIECE_BYTES)
        EN_TRY(put(r, bytes + i, n_bytes - i < PIECE_BYTES ? n_bytes - i : PIECE_BYTES, err));
    return ENTRO_OK;
}

static entro_status put_blocks(en_rebuild *r, const en_weight_rows *w, entro_error *err)
{
    size_t each = en_weight_rows_block_bytes(w, 0), n_bytes;
    uint32_t batch = each < PIECE_BYTES ? (uint32_t)(PIECE_BYTES / each) : 1;
    for (uint32_t first = 0; first < w->n_blocks; first += batch) {
        uint32_t n = w->n_blocks - first < batch ? w->n_blocks - first : batch;
        EN_TRY(decode_blocks(r, w, first, n, &n_bytes, err));
        EN_TRY(put(r, r->buffer, n_bytes, err));
    }
    return ENTRO_OK;
}

/* Head by head: the even rows first, then the odd ones. */
static entro_status put_heads(en_rebuild *r, const uint8_t *bytes, size_t n_bytes, size_t row_bytes,
                              uint32_t n_head_rows, entro_error *err)
{
    size_t n_head = n_head_rows * row_bytes, half = n_head_rows / 2; /* n_head divides n_bytes */
    EN_TRY(reserve(&r->head, &r->head_cap, n_head, err));
    for (size_t at = 0; at < n_bytes; at += n_head) {
        for (size_t row = 0; row < n_head_rows; row++)
            memcpy(r->head + (row % 2 * half + row / 2) * row_bytes, bytes + at + row * row_bytes,
                   row_bytes);
        EN_TRY(put(r, r->head, n_head, err));
    }
    return ENTRO_OK;
}

static entro_status put_tensor(en_rebuild *r, const en_piece *piece, entro_error *err)
{
    const en_container_tensor *t = en_container_numbered(r->container, piece->tensor);
    en_weight_rows w = en_weight_rows_of(r->source, &t->tensor, t->coded);
    const uint8_t *bytes = t->tensor.data;
    size_t n_bytes = (size_t)en_container_source_bytes(t);
    if (t->coded != NULL) {
        EN_TRY(en_weight_rows_scratch_fit(&r->scratch, &w, r->job->n_threads, err));
        if (piece->n_head_rows == 0)
            return put_blocks(r, &w, err);
        EN_TRY(decode_blocks(r, &w, 0, w.n_blocks, &n_bytes, err));
        bytes = r->buffer;
    }
    if (piece->n_head_rows == 0)
        return put_plain(r, bytes, n_bytes, err);
    uint64_t n_rows = t->tensor.n_dims == 1 ? t->tensor.dims[0] : t->tensor.dims[1];
    return put_heads(r, bytes, n_bytes, n_bytes / (size_t)n_rows, piece->n_head_rows, err);
}

/* Names the tensor where something is wrong with it. */
static entro_status put_named_tensor(en_rebuild *r, const en_piece *piece, entro_error *err)
{
    const en_tensor *t = &en_container_numbered(r->container, piece->tensor)->tensor;
    entro_status status = put_tensor(r, piece, err);
    en_source_forget(r->source, t);
    if (status == ENTRO_ERR_CHECKSUM)
        en_error_place(err, "tensor '%s'", t->name);
    return status;
}

/* ---- files --------------------------------------------------------------------------------- */

static entro_status put_pieces(en_rebuild *r, const en_original *o, const en_original_file *f,
                               entro_error *err)
{
    for (uint64_t i = 0; i < f->n_pieces; i++) {
        const en_piece *piece = &o->pieces[f->first_piece + i];
        if (piece->kind == EN_PIECE_LITERAL)
            EN_TRY(put_literal(r, piece->n_bytes, err));
        else
            EN_TRY(put_named_tensor(r, piece, err));
    }
    return ENTRO_OK;
}

entro_status en_rebuild_file(en_rebuild *r, uint32_t i, en_output *out, entro_error *err)
{
    const en_original *o = en_container_original(r->container);
    const en_original_file *f = &o->files[i];
    r->out = out;
    r->name = f->name;
    en_hash_start(r->hash);
    EN_TRY(put_pieces(r, o, f, err));
    uint64_t hash = en_hash_end(r->hash);
    if (hash == f->hash)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_CHECKSUM,
                   "original file '%s' comes out with checksum %016llx, expected %016llx: the "
                   "container is damaged; copy it again",
                   f->name, (unsigned long long)hash, (unsigned long long)f->hash);
}
