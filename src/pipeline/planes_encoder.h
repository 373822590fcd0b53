/*
 * planes_encoder.h - turns numbers, or any bytes, into a payload in coding 3, every bit kept.
 *
 *   measure: every segment is split into planes and counted; planes worth it get a code
 *   encode:  segments are split again and coded in batches by all threads, each into its own slot,
 *            then moved together; raw planes go straight to their place
 *
 * Only the payload is kept in memory: its checksum covers the index, which is known last and stands
 * first.
 */
#ifndef EN_PIPELINE_PLANES_ENCODER_H
#define EN_PIPELINE_PLANES_ENCODER_H

#include "base/job.h"
#include "container/planes_payload.h"

/* Where numbers come from. */
typedef struct en_number_rows {
    /* Rows as they are stored; called by any thread, twice for every row. */
    entro_status (*read)(void *context, uint64_t row, uint64_t n_rows, uint8_t *out,
                         entro_error *err);
    void *context;
    const char *name; /* for progress */
    uint32_t dtype;   /* that coding 3 can hold */
    uint64_t n_rows, n_cols;
    const en_source *source; /* what is read, or NULL: its pages are let go now and then */
    const en_tensor *tensor;
} en_number_rows;

typedef struct en_planes_thread en_planes_thread;

typedef struct en_planes_encoder {
    en_job *job;
    en_planes_plan plan; /* of the last matrix */
    uint64_t n_table_bytes;
    double weight;    /* the sum of the weights' squares; not finite when one of them is not */
    uint8_t *payload; /* after en_planes_encoder_run() */
    size_t n_bytes, cap;
    en_planes_thread *threads;
    size_t segment_cap; /* numbers that a thread has room for */
    uint8_t *slots;     /* of one batch */
    size_t slots_cap, *slot_used;
    /* at hand: */
    const en_number_rows *rows;
    en_code *codes[EN_MAX_PLANES];
    size_t stream_bytes; /* room in a slot for one stream */
    uint32_t first;      /* segment of the batch */
} en_planes_encoder;

entro_status en_planes_encoder_open(en_planes_encoder *e, en_job *job, entro_error *err);
void en_planes_encoder_close(en_planes_encoder *e); /* a zeroed one is fine */

/* Makes the payload.  Moves the job's progress from 'done' by n_bytes. */
entro_status en_planes_encoder_run(en_planes_encoder *e, const en_number_rows *rows, uint64_t done,
                                   uint64_t n_bytes, entro_error *err);

/* The rows of a source's tensor, which must outlive *out. */
typedef struct en_source_rows {
    const en_source *source;
    const en_tensor *tensor;
} en_source_rows;
en_number_rows en_number_rows_of(en_source_rows *from);

#endif
