/* unfinished_fisher.c - see unfinished_fisher.h. */
#include "calib/unfinished_fisher.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

enum { N_PLACE = 4, MAX_ITEMS = 7 };

/* The gradient of the group at hand. */
static size_t dx_floats(const en_fisher_shape *shape, const en_fisher_place *place)
{
    uint64_t left = shape->n_sequences - place->n_done;
    uint64_t n = left < shape->n_group ? left : shape->n_group;
    return place->n_left > 0 ? (size_t)n * shape->n_sequence_floats : 0;
}

/* What a file holds beside the place. */
static size_t list_items(const en_fisher_shape *shape, const en_fisher_place *place,
                         const en_fisher_sums *sums, en_statistics_item *items)
{
    const en_statistics_item all[] = {
        {.name = "rows", .n = shape->n_rows, .raw = sums->rows, .dtype = EN_DTYPE_F64},
        {.name = "output", .n = shape->n_vocab, .raw = sums->output, .dtype = EN_DTYPE_F64},
        {.name = "energy", .n = shape->n_vocab, .raw = sums->energy, .dtype = EN_DTYPE_F64},
        {.name = "counts", .n = shape->n_vocab, .raw = sums->counts, .dtype = EN_DTYPE_I64},
        {.name = "gradients",
         .n = shape->n_embd * shape->n_embd,
         .raw = sums->gradients,
         .dtype = EN_DTYPE_F32},
        {.name = "dx", .n = dx_floats(shape, place), .raw = sums->dx, .dtype = EN_DTYPE_F32}};
    memcpy(items, all, sizeof all);
    return sizeof all / sizeof all[0] - (place->n_left == 0);
}

static entro_status read_place(const en_statistics_file *f, const en_fisher_shape *shape,
                               en_fisher_place *place, entro_error *err)
{
    const uint8_t *p;
    EN_TRY(en_statistics_file_raw(f, "place", EN_DTYPE_I64, N_PLACE, &p, err));
    uint64_t n_done = en_load64(p), n_left = en_load64(p + 8), n_group = en_load64(p + 16),
             n_batch = en_load64(p + 24);
    if (n_group != shape->n_group || n_batch != shape->n_batch)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "it has groups of %" PRIu64 " sequences in batches of %" PRIu64
                       ", expected %" PRIu64 " in %" PRIu64 " (another version of the program?)",
                       n_group, n_batch, shape->n_group, shape->n_batch);
    if (n_done >= shape->n_sequences || n_done % n_group != 0 || n_left > shape->n_layers)
        return en_fail(err, ENTRO_ERR_FORMAT,
                       "it is at sequence %" PRIu64 " of %" PRIu64 ", %" PRIu64 " of %" PRIu32
                       " layers left, which cannot be",
                       n_done, shape->n_sequences, n_left, shape->n_layers);
    *place = (en_fisher_place){.n_done = n_done, .n_left = (uint32_t)n_left};
    return ENTRO_OK;
}

entro_status en_unfinished_fisher_check(const en_statistics_file *f, const en_fisher_shape *shape,
                                        en_fisher_place *place, entro_error *err)
{
    static const en_fisher_sums none;
    en_statistics_item items[MAX_ITEMS];
    const uint8_t *p;
    EN_TRY(read_place(f, shape, place, err));
    size_t n = list_items(shape, place, &none, items);
    for (size_t i = 0; i < n; i++)
        EN_TRY(en_statistics_file_raw(f, items[i].name, items[i].dtype, items[i].n, &p, err));
    return ENTRO_OK;
}

entro_status en_unfinished_fisher_read(const en_statistics_file *f, const en_fisher_shape *shape,
                                       en_fisher_sums *sums, entro_error *err)
{
    void *const to[] = {sums->rows,   sums->output,    sums->energy,
                        sums->counts, sums->gradients, sums->dx};
    en_fisher_place place;
    en_statistics_item items[MAX_ITEMS];
    const uint8_t *p;
    EN_TRY(read_place(f, shape, &place, err));
    size_t n = list_items(shape, &place, sums, items);
    for (size_t i = 0; i < n; i++) {
        EN_TRY(en_statistics_file_raw(f, items[i].name, items[i].dtype, items[i].n, &p, err));
        memcpy(to[i], p, items[i].n * en_dtype_get(items[i].dtype)->block_bytes);
    }
    return ENTRO_OK;
}

entro_status en_unfinished_fisher_write(const char *folder, const en_statistics_identity *id,
                                        const en_fisher_shape *shape, const en_fisher_place *place,
                                        const en_fisher_sums *sums, entro_error *err)
{
    const uint64_t numbers[N_PLACE] = {place->n_done, place->n_left, shape->n_group,
                                       shape->n_batch};
    en_statistics_item items[MAX_ITEMS];
    size_t n = list_items(shape, place, sums, items);
    items[n++] =
        (en_statistics_item){.name = "place", .n = N_PLACE, .raw = numbers, .dtype = EN_DTYPE_I64};
    return en_unfinished_write(folder, EN_STATISTICS_UNFINISHED_FISHER, 0, id, items, n, err);
}
