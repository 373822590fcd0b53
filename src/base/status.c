/* status.c - see status.h. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_error(entro_error *err, entro_status status, uint64_t offset, const char *format,
                      va_list args)
{
    if (err == NULL)
        return;
    err->status = status;
    err->offset = offset;
    err->where[0] = '\0';
    vsnprintf(err->message, sizeof err->message, format, args);
}

entro_status en_fail(entro_error *err, entro_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_error(err, status, EN_NO_OFFSET, format, args);
    va_end(args);
    return status;
}

entro_status en_fail_at(entro_error *err, entro_status status, uint64_t offset, const char *format,
                        ...)
{
    va_list args;
    va_start(args, format);
    set_error(err, status, offset, format, args);
    va_end(args);
    return status;
}

static entro_status status_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT: return ENTRO_ERR_NO_SPACE;
    case ENOENT: return ENTRO_ERR_NOT_FOUND;
    case EEXIST: return ENTRO_ERR_EXISTS;
    case ENOMEM: return ENTRO_ERR_NOMEM;
    default: return ENTRO_ERR_IO;
    }
}

entro_status en_fail_errno(entro_error *err, int errno_value, const char *format, ...)
{
    entro_status status = status_of_errno(errno_value);
    va_list args;
    va_start(args, format);
    set_error(err, status, EN_NO_OFFSET, format, args);
    va_end(args);
    if (err != NULL) {
        size_t n = strlen(err->message);
        snprintf(err->message + n, sizeof err->message - n, ": %s", strerror(errno_value));
    }
    return status;
}

entro_status en_fail_memory(entro_error *err)
{
    return en_fail(err, ENTRO_ERR_NOMEM, "out of memory");
}

void en_error_place(entro_error *err, const char *format, ...)
{
    if (err == NULL)
        return;
    char place[sizeof err->where], old[sizeof err->where];
    va_list args;
    va_start(args, format);
    vsnprintf(place, sizeof place, format, args);
    va_end(args);
    memcpy(old, err->where, sizeof old);
    size_t n = strlen(place);
    memcpy(err->where, place, n + 1);
    if (old[0] != '\0')
        snprintf(err->where + n, sizeof err->where - n, ": %s", old);
}

const char *entro_status_name(entro_status status)
{
    switch (status) {
    case ENTRO_OK: return "ok";
    case ENTRO_ERR_NOMEM: return "out of memory";
    case ENTRO_ERR_IO: return "input/output error";
    case ENTRO_ERR_FORMAT: return "damaged or wrong file";
    case ENTRO_ERR_VERSION: return "made by a newer version";
    case ENTRO_ERR_CHECKSUM: return "checksum mismatch";
    case ENTRO_ERR_UNSUPPORTED: return "not supported";
    case ENTRO_ERR_ARGUMENT: return "bad argument";
    case ENTRO_ERR_NOT_FOUND: return "not found";
    case ENTRO_ERR_EXISTS: return "exists already";
    case ENTRO_ERR_NO_SPACE: return "no space left";
    case ENTRO_ERR_CANCELLED: return "cancelled";
    case ENTRO_ERR_CONTEXT: return "context is full";
    case ENTRO_ERR_MISMATCH: return "does not match";
    }
    return "unknown status";
}
