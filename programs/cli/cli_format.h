/*
 * cli_format.h - numbers for people, errors for people, JSON for scripts.
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <entrollm/entrollm.h>

#include <jansson.h>

/* Sizes are decimal (1 MB = 1,000,000 bytes), as on disks and in the papers. */
typedef struct cli_text {
    char s[32];
} cli_text;

cli_text cli_bytes(double n_bytes);              /* "98.4 MB" */
cli_text cli_count(double n);                    /* "134.5 M" */
cli_text cli_figure(double value, int n_digits); /* "-" when it is not a number */
cli_text cli_small(double value);                /* three digits, however small: "0.00231" */

void cli_format_rate(char *out, size_t n_out, double bytes_per_second); /* "412 MB/s" */
void cli_format_clock(char *out, size_t n_out, double seconds);         /* "1:04", "2:01:04" */
/* At most 'width' columns; the middle is left out when it does not fit. */
void cli_format_shortened(char *out, size_t n_out, const char *text, size_t width);

/* Prints the error and a hint what to try; returns the exit code. */
int cli_fail(const entro_error *err);
/* The same for the program's own errors. */
int cli_fail_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Talk on stderr, one line. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Numbers that are no numbers become null. */
void cli_json_real(json_t *object, const char *key, double value);
void cli_json_int(json_t *object, const char *key, uint64_t value);
void cli_json_text(json_t *object, const char *key, const char *value);
/* Prints and releases it; returns the exit code. */
int cli_json_print(json_t *object);

/* Flushes stdout; a full disk or closed pipe is an error.  Returns the exit code. */
int cli_finish_output(int code);

/* "182 of 197 matrices packed in memory, 701 MB; the rest coded (--ram)"; false when there are none
 * in strips. */
bool cli_format_kept(char *out, size_t n_out, const entro_model_info *info);

#endif
