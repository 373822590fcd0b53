/*
 * cli_page.h - the account of a compression as one HTML page that needs nothing else.
 */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include "cli_account.h"

/* Write the file whole or not at all; return the exit code, after saying what was wrong. */
int cli_page_write(const cli_account *a, const char *path);
/* The same of several sizes: the frontier of the model as it is expected. */
int cli_page_write_tries(const char *source, const char *method, const cli_tries *tries,
                         const char *path);

#endif
