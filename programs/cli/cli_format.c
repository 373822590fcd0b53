/*
 * cli_format.c - see cli_format.h.
 */
#include "cli_format.h"

#include "cli_options.h"
#include "cli_terminal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static cli_text scaled(double value, const char *const *units, size_t n_units, const char *gap)
{
    cli_text text;
    size_t unit = 0;
    while (unit + 1 < n_units && value >= 999.5) {
        value /= 1000;
        unit++;
    }
    int n_digits = unit == 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(text.s, sizeof(text.s), "%.*f%s%s", n_digits, value, *units[unit] ? gap : "",
             units[unit]);
    return text;
}

cli_text cli_bytes(double n_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    return scaled(n_bytes, units, 5, " ");
}

cli_text cli_count(double n)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    return scaled(n, units, 5, " ");
}

cli_text cli_figure(double value, int n_digits)
{
    cli_text text;
    if (isfinite(value))
        snprintf(text.s, sizeof(text.s), "%.*f", n_digits, value);
    else
        snprintf(text.s, sizeof(text.s), "-");
    return text;
}

cli_text cli_small(double value)
{
    int n_digits = 3;
    for (double v = fabs(value); v > 0 && v < 0.0995 && n_digits < 9; v *= 10)
        n_digits++;
    return cli_figure(value, n_digits);
}

void cli_format_rate(char *out, size_t n_out, double bytes_per_second)
{
    snprintf(out, n_out, "%s/s", cli_bytes(bytes_per_second).s);
}

void cli_format_clock(char *out, size_t n_out, double seconds)
{
    unsigned long long whole = seconds > 0 && seconds < 1e9 ? (unsigned long long)seconds : 0;
    if (whole >= 3600)
        snprintf(out, n_out, "%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(out, n_out, "%llu:%02llu", whole / 60, whole % 60);
}

void cli_format_shortened(char *out, size_t n_out, const char *text, size_t width)
{
    size_t n = strlen(text);
    if (width + 1 > n_out)
        width = n_out - 1;
    if (n <= width) {
        memcpy(out, text, n + 1);
    } else if (width < 8) {
        memcpy(out, text, width);
        out[width] = 0;
    } else {
        size_t head = (width - 2) / 2, tail = width - 2 - head;
        snprintf(out, n_out, "%.*s..%s", (int)head, text, text + n - tail);
    }
}

/* ---- errors ----------------------------------------------------------------------------- */

static const char *hint_for(entro_status status)
{
    switch (status) {
    case ENTRO_ERR_EXISTS: return "--force overwrites it";
    case ENTRO_ERR_NO_SPACE: return "free some space, or write to another disk with -o";
    case ENTRO_ERR_NOMEM: return "close other programs, or use a smaller context (-c)";
    case ENTRO_ERR_CHECKSUM: return "the file is damaged: copy or compress it again";
    case ENTRO_ERR_VERSION: return "a newer entrollm reads it";
    case ENTRO_ERR_CONTEXT: return "-c sets a larger context";
    default: return NULL;
    }
}

static void print_error(const char *where, const char *message, const char *hint)
{
    fprintf(stderr, "%serror:%s %s%s%s\n", cli_colour(CLI_RED), cli_colour(CLI_PLAIN), where,
            *where ? ": " : "", message);
    if (hint)
        fprintf(stderr, "%shint:%s %s\n", cli_colour(CLI_YELLOW), cli_colour(CLI_PLAIN), hint);
}

int cli_fail(const entro_error *err)
{
    if (err->status == ENTRO_ERR_CANCELLED && cli_interrupted()) {
        fprintf(stderr, "interrupted\n");
        return CLI_EXIT_FAILED;
    }
    const char *hint = hint_for(err->status);
    /* The library's message may say the same already. */
    if (hint && (strstr(err->message, "--force") || strstr(err->message, "-c ")))
        hint = NULL;
    print_error(err->where, *err->message ? err->message : entro_status_name(err->status), hint);
    return CLI_EXIT_FAILED;
}

int cli_fail_text(const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    print_error("", message, NULL);
    return CLI_EXIT_FAILED;
}

void cli_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(cli_colour(CLI_DIM), stderr);
    vfprintf(stderr, format, args);
    fputs(cli_colour(CLI_PLAIN), stderr);
    fputc('\n', stderr);
    va_end(args);
}

/* ---- output ----------------------------------------------------------------------------- */

void cli_json_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

void cli_json_int(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

void cli_json_text(json_t *object, const char *key, const char *value)
{
    json_t *text = json_string(value ? value : "");
    json_object_set_new(object, key, text ? text : json_null());
}

int cli_json_print(json_t *object)
{
    errno = 0;
    int bad = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    int reason = errno;
    json_decref(object);
    fputc('\n', stdout);
    if (bad)
        return cli_fail_text("standard output: %s", reason ? strerror(reason) : "write failed");
    return CLI_EXIT_OK;
}

int cli_finish_output(int code)
{
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_EXIT_OK)
        return cli_fail_text("standard output: %s", errno ? strerror(errno) : "write failed");
    return code;
}

bool cli_format_kept(char *out, size_t n_out, const entro_model_info *info)
{
    if (info->n_strip_matrices == 0)
        return false;
    if (info->n_packed_matrices == 0)
        snprintf(out, n_out, "all %u matrices run from their coded form", info->n_strip_matrices);
    else
        snprintf(out, n_out, "%u of %u matrices packed in memory, %s; the rest coded (--ram)",
                 info->n_packed_matrices, info->n_strip_matrices,
                 cli_bytes((double)info->n_packed_bytes).s);
    return true;
}
