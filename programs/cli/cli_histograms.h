/*
 * cli_histograms.h - the integers of each kind of matrix, as small pictures of one form.
 */
#ifndef CLI_HISTOGRAMS_H
#define CLI_HISTOGRAMS_H

#include "cli_kinds.h"

#include <stdio.h>

/* Nothing where no kind has integers. */
void cli_histograms_draw(FILE *out, const cli_kinds *kinds);

#endif
