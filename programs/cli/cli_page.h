/*
 * cli_page.h - the account of a compression as one HTML page that needs nothing else.
 */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include "cli_account.h"

/* Writes the file whole or not at all; returns the exit code, after saying what was wrong. */
int cli_page_write(const cli_account *a, const char *path);

#endif
