/*
 * fuzz_calib_file.c - any bytes as text for calibration; the first tells how much of it is wanted.
 */
#include "base/memory.h"
#include "calib/calib_file.h"
#include "fuzz_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    en_calib_string out = {0};
    entro_error err = {0};
    if (n_bytes < 2)
        return 0;
    en_memory_fail_at((data[0] & 3) == 3 ? data[0] >> 2 : UINT64_MAX);
    entro_status status = en_calib_file_parse(&out, (const char *)data + 1, n_bytes - 1,
                                              (size_t)data[0] << (data[0] & 7), &err);
    en_memory_fail_at(UINT64_MAX);
    if (status != ENTRO_OK && (err.status != status || err.message[0] == '\0'))
        __builtin_trap();
    en_free(out.s);
    if (en_memory_in_use() != 0)
        __builtin_trap();
    return 0;
}
