/*
 * calib_file.h - a file of text for calibration, whatever it is wrapped in, as one string.
 */
#ifndef EN_CALIB_CALIB_FILE_H
#define EN_CALIB_CALIB_FILE_H

#include "base/status.h"

typedef struct en_calib_string {
    char *s; /* owned; not terminated */
    size_t n, cap;
} en_calib_string;

/* False when out of memory. */
bool en_calib_string_add(en_calib_string *out, const char *s, size_t n);

/*
 * About n_wanted bytes of the file's text: all of it when it has less than that, else pieces that are
 * spread evenly.  Documents of JSON are separated by an empty line.  See calib_text.h for the forms.  Errors
 * begin with 'path'.
 */
entro_status en_calib_file_read(en_calib_string *out, const char *path, size_t n_wanted,
                                entro_error *err);

/* The same from bytes. */
entro_status en_calib_file_parse(en_calib_string *out, const char *bytes, size_t n_bytes,
                                 size_t n_wanted, entro_error *err);

#endif
