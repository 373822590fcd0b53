/*
 * cli_terminal.h - talking to a person: width, colours, progress, Ctrl-C.
 *
 * stdout is data and stderr is talk.  Colours and progress appear on a terminal only, and never
 * when NO_COLOR or TERM=dumb say so.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <entrollm/entrollm.h>

#include <stdio.h>

/* Columns of the terminal behind 'stream', 80 when there is none. */
int cli_width(FILE *stream);

/* An escape sequence for stderr, "" where colours are not wanted. */
typedef enum cli_paint { CLI_PLAIN, CLI_RED, CLI_YELLOW, CLI_DIM } cli_paint;
const char *cli_colour(cli_paint paint);

/* Ctrl-C and a termination request set a flag that jobs look at; a second one ends the program. */
void cli_signals_install(void);
int cli_interrupted(void); /* the signal, or 0 */
void cli_interrupt_clear(void);
/* Ends the program as the signal would have, so that a calling shell sees it. */
void cli_interrupt_die(void);

/* Seconds on a clock that only goes forward. */
double cli_now(void);

/* A line on stderr that is rewritten in place.  Zero it, set 'quiet', hand it to the job as the
 * user pointer of cli_progress_show(), and call cli_progress_clear() before other output. */
typedef struct cli_progress {
    bool quiet;
    bool shown;
    char stage[24];
    double start; /* of the stage */
    double last;  /* when drawn last */
} cli_progress;

void cli_progress_begin(cli_progress *progress); /* the job starts now */
bool cli_progress_show(void *user, const entro_progress *progress);
void cli_progress_clear(cli_progress *progress);

#endif
