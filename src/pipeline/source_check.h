/*
 * source_check.h - are the source's numbers numbers?
 *
 * One NaN in a norm makes every prediction NaN, in a file that is whole.  Quantizers find those in the matrices
 * that they see; the rest, vectors and what is stored as it is, nobody looks at.  Before a model is run for its
 * statistics all tensors are looked through, because a logit does not tell where its NaN came from.
 */
#ifndef EN_PIPELINE_SOURCE_CHECK_H
#define EN_PIPELINE_SOURCE_CHECK_H

#include "base/job.h"
#include "pipeline/compress_plan.h"

/*
 * ENTRO_ERR_FORMAT with the tensor's name and the number's place when one is NaN or infinite.  By all threads of
 * the job, of which it is a stage ("check") when there is much to read.  With method lossless every bit is kept:
 * there it looks at nothing.
 */
entro_status en_source_check(const en_compress_plan *plan, en_job *job, entro_error *err);

#endif
