/*
 * compose.h - Unicode normalization form C, for the models whose tokenizers apply it.
 */
#ifndef EN_TEXT_COMPOSE_H
#define EN_TEXT_COMPOSE_H

#include "base/status.h"

/*
 * Text in form NFC.  *out is NULL when the text is in that form already (the usual case, found out
 * at several hundred MB/s), else allocated (en_free).  Bytes that are not UTF-8 stay as they are.
 */
entro_status en_compose(const char *text, size_t n, char **out, size_t *n_out, entro_error *err);

#endif
