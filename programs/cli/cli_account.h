/*
 * cli_account.h - what a compression cost and gained: for people, and for scripts.
 */
#ifndef CLI_ACCOUNT_H
#define CLI_ACCOUNT_H

#include <entrollm/entrollm.h>

/* Sums over coded tensors. */
typedef struct cli_totals {
    double n_params, n_bytes;
    double entropy_bits, one_table_bits; /* over weights; NAN when not known */
    double loss, loss_alone;             /* NAN when not known */
} cli_totals;

enum { CLI_MAX_PASSES = 32 };

typedef struct cli_account {
    const char *source, *output, *method, *table, *coding; /* borrowed */
    entro_compress_report report;
    entro_tensor_account *tensors; /* of the last pass, in the order of the file */
    size_t n_tensors, cap;
    bool out_of_memory; /* some are missing */
    cli_totals
        passes[CLI_MAX_PASSES]; /* of the search for a size; n_passes after the first tensor */
    size_t n_passes;
} cli_account;

/* An entro_account_fn; 'user' is the account. */
void cli_account_add(void *user, const entro_tensor_account *tensor);
void cli_account_release(cli_account *a);

void cli_totals_add(cli_totals *totals, const entro_tensor_account *tensor);
cli_totals cli_account_totals(const cli_account *a); /* of the last pass */

void cli_account_print(const cli_account *a);
/* Returns the exit code. */
int cli_account_json(const cli_account *a);

/* What several sizes of one model cost. */
enum { CLI_MAX_TRIES = 32 };
typedef struct cli_tries {
    double bpw[CLI_MAX_TRIES]; /* asked */
    entro_compress_report reports[CLI_MAX_TRIES];
    entro_error errors[CLI_MAX_TRIES]; /* of sizes that cannot be met, which have no report */
    size_t n;
} cli_tries;
/* Returns the exit code. */
int cli_account_tries(bool json, const cli_tries *tries);

#endif
