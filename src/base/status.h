/*
 * status.h - filling in an entro_error and passing failures on.
 *
 * A message says what was expected, what was found and what to try; 'where' names the file and
 * the tensor or key.  Lower layers set the message and what they know of the place; the layer
 * that knows the file puts its name in front with en_error_place().
 */
#ifndef EN_BASE_STATUS_H
#define EN_BASE_STATUS_H

#include <entrollm/entrollm.h>

#define EN_NO_OFFSET UINT64_MAX

#define EN_PRINTF(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))

/* Pass a failure on. */
#define EN_TRY(call)                                                                               \
    do {                                                                                           \
        entro_status en_try_status_ = (call);                                                      \
        if (en_try_status_ != ENTRO_OK)                                                            \
            return en_try_status_;                                                                 \
    } while (0)

/* Sets *err (which may be NULL) with an empty place and returns 'status'. */
entro_status en_fail(entro_error *err, entro_status status, const char *format, ...)
    EN_PRINTF(3, 4);

/* As en_fail, at byte 'offset' of the file. */
entro_status en_fail_at(entro_error *err, entro_status status, uint64_t offset, const char *format,
                        ...) EN_PRINTF(4, 5);

/* As en_fail, with strerror(errno_value) appended; ENOSPC, ENOENT, EEXIST and ENOMEM get their own
 * status, everything else ENTRO_ERR_IO. */
entro_status en_fail_errno(entro_error *err, int errno_value, const char *format, ...)
    EN_PRINTF(3, 4);

/* ENTRO_ERR_NOMEM with a fixed text. */
entro_status en_fail_memory(entro_error *err);

/* Puts "place" in front of err->where ("place: where"); a no-op when err is NULL. */
void en_error_place(entro_error *err, const char *format, ...) EN_PRINTF(2, 3);

#endif
