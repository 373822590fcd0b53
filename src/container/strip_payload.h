/* strip_payload.h - numbers of the payload of codings 2 and 4, shared by who writes and who reads it. */
#ifndef EN_CONTAINER_STRIP_PAYLOAD_H
#define EN_CONTAINER_STRIP_PAYLOAD_H

#include "container/container.h"

enum {
    EN_STRIP_HEADER_BYTES = 320,
    EN_STRIP_PARTS_AT = 128,
    EN_STRIP_CLASS_BYTES = 8 + EN_PAIR_STORED_BYTES, /* mode, base, code; of coding 2 */
    EN_STRIP_SHORT_HEAD = 4,                         /* i32 exponent of short grids */
};

typedef enum en_strip_part_name {
    EN_STRIP_STEPS,
    EN_STRIP_OFFSETS,
    EN_STRIP_COL_SCALES,
    EN_STRIP_COL_ORDER,
    EN_STRIP_ROW_ORDER,
    EN_STRIP_CLASSES,
    EN_STRIP_INDEX,
    EN_STRIP_RAW,
    EN_STRIP_WORDS,
    EN_STRIP_EXCEPTIONS,
    EN_STRIP_PART_COUNT
} en_strip_part_name;

bool en_strip_payload_is(const uint8_t *bytes, size_t n_bytes);
/* Checks untrusted bytes that begin like a coded tensor; *matrix is a new one (and coded->strips),
 * freed with en_strip_matrix_free(). */
entro_status en_strip_payload_parse(en_coded *coded, en_strip_matrix **matrix, const uint8_t *bytes,
                                    size_t n_bytes, entro_error *err);
void en_strip_matrix_free(en_strip_matrix *matrix); /* NULL is fine */

#endif
