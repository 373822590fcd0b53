/*
 * cli_comparison.h - what a comparison of models with a reference found: for people, for scripts, as a page.
 */
#ifndef CLI_COMPARISON_H
#define CLI_COMPARISON_H

#include <entrollm/entrollm.h>

/* One model's figures. */
typedef struct cli_outcome {
    const char *model; /* its path; borrowed */
    bool is_container; /* made by this program, others are its peers */
    uint64_t n_file_bytes;
    double bits; /* of the whole file, a parameter of the reference */
    entro_divergence_report report;
    char worst[ENTRO_N_WORST][24]; /* the tokens as text */
} cli_outcome;

typedef struct cli_comparison {
    const char *reference, *text; /* borrowed */
    entro_model_info reference_info;
    uint32_t n_ctx;
    cli_outcome *outcomes; /* at least one */
    size_t n;
} cli_comparison;

/* Each returns the exit code. */
int cli_comparison_print(const cli_comparison *c, bool quiet);
int cli_comparison_json(const cli_comparison *c);
/* The frontier of all of them (cli_frontier.h), the table, the worst tokens: in cli_comparison_page.c. */
int cli_comparison_page(const cli_comparison *c, const char *path);

#endif
