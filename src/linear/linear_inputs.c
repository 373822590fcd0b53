/* linear_inputs.c - see linear_inputs.h. */
#include "linear/linear_inputs.h"

#include "base/memory.h"

enum { LINE = 64, COPY_HEAD = (sizeof(en_linear_copy) + LINE - 1) / LINE * LINE };

static entro_status plan_orders(en_linear_inputs *in, const en_linear_product *products,
                                size_t n_products, entro_error *err)
{
    size_t here;
    for (size_t i = 0; i < n_products; i++) {
        const en_linear *m = products[i].matrix;
        if (!en_linear_in_strips(m)) {
            in->has_integers |= en_plain_takes_integers(m, in->n_tokens);
            continue;
        }
        uint32_t k = 0;
        while (k < in->n_orders && !en_activations_shared(in->orders[k], m->coded->strips))
            k++;
        in->order_of[i] = k;
        if (k < in->n_orders)
            continue;
        in->orders[k] = m->coded->strips;
        in->starts[k] = in->copy_bytes;
        in->n_orders++;
        if (!en_activations_bytes(in->orders[k], in->n_tokens, &here) ||
            !en_add(in->copy_bytes, here, &in->copy_bytes))
            return en_fail_memory(err);
    }
    return ENTRO_OK;
}

entro_status en_linear_inputs_plan(en_linear_inputs *in, const en_linear_product *products,
                                   size_t n_products, en_linear_scratch *scratch, entro_error *err)
{
    size_t here, n_bytes;
    in->scratch = scratch;
    in->n_cols = products[0].matrix->n_cols;
    in->copy_bytes = COPY_HEAD;
    EN_TRY(plan_orders(in, products, n_products, err));
    in->integers_start = in->copy_bytes;
    if (in->has_integers && (!en_plain_inputs_bytes(in->n_cols, in->n_tokens, &here) ||
                             !en_add(in->copy_bytes, here, &in->copy_bytes)))
        return en_fail_memory(err);
    in->is_own = in->n_tokens <= EN_STRIPS_FEW_PACKED;
    in->job = ++scratch->n_jobs;
    if (!en_mul(in->copy_bytes, in->is_own ? scratch->n_threads : 1, &n_bytes))
        return en_fail_memory(err);
    return en_linear_grow_activations(scratch, n_bytes, err);
}

static en_linear_copy *copy_of(const en_linear_inputs *in, uint32_t thread)
{
    return (void *)(in->scratch->activations + (in->is_own ? thread : 0) * in->copy_bytes);
}

static void place(const en_linear_inputs *in, en_linear_copy *copy)
{
    uint8_t *memory = (uint8_t *)copy;
    for (size_t k = 0; k < in->n_orders; k++)
        en_activations_place(&copy->orders[k], in->orders[k], in->n_tokens, memory + in->starts[k]);
    if (in->has_integers)
        en_plain_inputs_place(&copy->integers, in->n_cols, in->n_tokens,
                              memory + in->integers_start);
}

/* Item: one token in one order. */
static void set_item(void *context, uint32_t item, uint32_t thread)
{
    const en_linear_inputs *in = context;
    en_linear_copy *copy = copy_of(in, thread);
    size_t k = item / in->n_tokens, token = item % in->n_tokens;
    const float *x = in->x + token * in->x_stride;
    float *ordered = en_linear_tile(in->scratch, thread);
    if (k < in->n_orders)
        en_activations_set(&copy->orders[k], token, x, ordered);
    else
        en_plain_inputs_set(&copy->integers, token, x, ordered);
}

static uint32_t count_items(const en_linear_inputs *in)
{
    return (uint32_t)((in->n_orders + in->has_integers) * in->n_tokens);
}

void en_linear_inputs_share(en_linear_inputs *in, en_pool *pool)
{
    if (in->is_own || count_items(in) == 0)
        return;
    place(in, copy_of(in, 0));
    en_pool_run(pool, set_item, in, count_items(in));
}

const en_linear_copy *en_linear_inputs_of(const en_linear_inputs *in, uint32_t thread)
{
    en_linear_copy *copy = copy_of(in, thread);
    uint64_t *made = &in->scratch->made[thread].job;
    if (!in->is_own || *made == in->job)
        return copy;
    place(in, copy);
    for (uint32_t i = 0; i < count_items(in); i++)
        set_item((void *)in, i, thread);
    *made = in->job;
    return copy;
}
