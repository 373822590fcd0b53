/*
 * cli_account.h - what a compression cost and gained: for people, and for scripts.
 */
#ifndef CLI_ACCOUNT_H
#define CLI_ACCOUNT_H

#include <entrollm/entrollm.h>

typedef struct cli_account {
    const char *source, *output, *method, *table, *coding; /* borrowed */
    entro_compress_report report;
    entro_tensor_account *tensors; /* of the last pass, in the order of the file */
    size_t n_tensors, cap;
    bool out_of_memory; /* some are missing */
} cli_account;

/* An entro_account_fn; 'user' is the account. */
void cli_account_add(void *user, const entro_tensor_account *tensor);
void cli_account_release(cli_account *a);

void cli_account_print(const cli_account *a);
/* Returns the exit code. */
int cli_account_json(const cli_account *a);

/* What several sizes of one model cost.  Returns the exit code. */
int cli_account_tries(bool json, const double *bpw, const entro_compress_report *reports, size_t n);

#endif
