/*
 * api_options.h - options structs of callers built against another version of the header.
 *
 * A struct only ever grows at its end, and its first field says how long the caller's is.  Each
 * public function copies what the caller has over the defaults of this version and hands the
 * rooms below a complete struct.
 */
#ifndef EN_API_API_OPTIONS_H
#define EN_API_API_OPTIONS_H

#include "base/status.h"

/* 'full' holds the defaults, 'given' (maybe NULL) the caller's struct. */
entro_status en_options_merge(void *full, size_t full_bytes, const void *given, entro_error *err);

/* The same for reports that begin with their length: the check ahead of the job, and giving the caller
 * what there is room for. */
entro_status en_report_check(const void *report, size_t full_bytes, entro_error *err);
void en_report_give(void *report, const void *full);

#endif
