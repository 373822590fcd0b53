/*
 * cli_frontier.h - sizes of models over what they lose, as a picture.
 *
 * Of each group (made here; others) a line joins the points that no other one of the group beats in both.
 */
#ifndef CLI_FRONTIER_H
#define CLI_FRONTIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct cli_frontier_point {
    const char *name;
    double bits;        /* a parameter, whole file */
    double loss, error; /* the latter is 0 where none is known */
    bool is_peer;
} cli_frontier_point;

enum { CLI_COLOUR_OURS = 2, CLI_COLOUR_PEERS = 1 }; /* of cli_html.h */

/* Points whose loss is not above 0 have no place on its logarithmic axis and are left out; returns how many were
 * drawn, 0 without a picture. */
size_t cli_frontier_draw(FILE *out, const cli_frontier_point *points, size_t n,
                         const char *loss_title);

#endif
