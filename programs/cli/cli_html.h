/*
 * cli_html.h - a page that needs nothing else: no script, no font, no network; light or dark as the reader
 * has it.
 *
 * Names come from files and are never trusted: whatever is not written by the program itself goes through
 * cli_html_text().
 */
#ifndef CLI_HTML_H
#define CLI_HTML_H

#include <stdio.h>

enum { CLI_N_COLOURS = 16 }; /* classes s0, s1 ... of strokes, f0, f1 ... of what is filled */

typedef struct cli_html {
    FILE *out;
    const char *path; /* borrowed */
    char *temporary;
} cli_html;

/* Opens a temporary file beside 'path' and writes the head.  Returns the exit code, after saying what was
 * wrong. */
int cli_html_open(cli_html *h, const char *path, const char *title);
/* Gives the page its name, or removes it when anything failed; returns the exit code. */
int cli_html_close(cli_html *h);

/* Text from outside, in an element or in a quoted attribute; control characters become spaces, and what is
 * not UTF-8 question marks. */
void cli_html_text(FILE *out, const char *text);

#endif
