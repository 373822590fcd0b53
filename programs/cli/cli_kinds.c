/* cli_kinds.c - see cli_kinds.h. */
#include "cli_kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The kind's name and the layer, -1 for a tensor of none. */
static int split_name(const char *name, char *out, size_t n_out)
{
    long layer = -1;
    char *end = NULL;
    if (strncmp(name, "blk.", 4) == 0 && name[4] >= '0' && name[4] <= '9')
        layer = strtol(name + 4, &end, 10);
    if (layer < 0 || layer >= CLI_MAX_LAYERS || *end != '.')
        layer = -1;
    else
        name = end + 1;
    snprintf(out, n_out, "%s", name);
    size_t length = strlen(out), n_end = strlen(".weight");
    if (length > n_end && strcmp(out + length - n_end, ".weight") == 0)
        out[length - n_end] = 0;
    return (int)layer;
}

static cli_matrix_kind *find(cli_kinds *k, const char *name)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->kinds[i].name, name) == 0)
            return &k->kinds[i];
    if (k->n == CLI_MAX_KINDS) {
        cli_matrix_kind *last = &k->kinds[CLI_MAX_KINDS - 1];
        snprintf(last->name, sizeof(last->name), "others");
        return last;
    }
    cli_matrix_kind *one = &k->kinds[k->n++];
    snprintf(one->name, sizeof(one->name), "%s", name);
    one->middle_low = INT32_MAX;
    one->middle_high = INT32_MIN;
    for (size_t i = 0; i < CLI_MAX_LAYERS; i++)
        one->bits[i] = NAN;
    return one;
}

static void add_histogram(cli_matrix_kind *k, const entro_histogram *h)
{
    uint32_t most = 0;
    for (uint32_t i = 1; i < h->n_values; i++)
        most = h->counts[i] > h->counts[most] ? i : most;
    for (uint32_t i = 0; i < h->n_values; i++) {
        k->sums[CLI_MIDDLE + i - most] += h->counts[i];
        k->n_counted += h->counts[i];
    }
    int32_t middle = h->first + (int32_t)most;
    k->middle_low = middle < k->middle_low ? middle : k->middle_low;
    k->middle_high = middle > k->middle_high ? middle : k->middle_high;
    k->n_counted += h->n_others;
}

static void add(cli_kinds *k, const entro_tensor_account *t)
{
    char name[sizeof(k->kinds[0].name)];
    int layer = split_name(t->name, name, sizeof(name));
    cli_matrix_kind *one = find(k, name);
    cli_totals_add(&one->totals, t);
    if (t->histogram)
        add_histogram(one, t->histogram);
    if (layer < 0)
        return;
    one->bits[layer] = t->bits;
    one->n_in_layers++;
    k->n_layers = layer >= k->n_layers ? layer + 1 : k->n_layers;
    k->most_bits = fmax(k->most_bits, t->bits);
}

bool cli_kinds_collect(cli_kinds *k, const cli_account *a)
{
    *k = (cli_kinds){.kinds = calloc(CLI_MAX_KINDS, sizeof(*k->kinds))};
    for (size_t i = 0; k->kinds && i < a->n_tensors; i++)
        add(k, &a->tensors[i]);
    return k->kinds != NULL;
}

void cli_kinds_release(cli_kinds *k)
{
    free(k->kinds);
    k->kinds = NULL;
}
