/*
 * distill.h - fine-tunes the vectors of a quantized model (gains of norms, biases) so that its predictions
 * follow those of its source.
 *
 *   source:   tokens -> layers -> norm, output -> softmax p
 *   student:  tokens -> layers -> norm, output -> softmax q      quantized matrices, which stay as they are
 *   loss:     mean over tokens of sum p log(p / q), the KLD that `compare` measures
 *
 * A step is a batch of sequences: forward through both, backward through the student, and Adam (Kingma, Ba
 * 2015) on a factor for each gain and an addend for each bias.  These vectors are stored as f32 whatever the
 * matrices are, so that what tuning gains takes no bits ("norm tweaking", Li et al., AAAI 2024, tunes the gains
 * alone and layer by layer).
 *
 * Sequences at the end of the text are kept apart: the KLD there is measured before and after, and
 * vectors that did not help there are put back.
 */
#ifndef EN_CALIB_DISTILL_H
#define EN_CALIB_DISTILL_H

#include "base/job.h"
#include "calib/calib_text.h"
#include "model/decoder.h"

typedef struct en_distill_options {
    uint64_t n_tokens; /* to learn from; 0: EN_DISTILL_TOKENS, or as many as there are */
    /* Of the first steps, relative to a gain; 0: EN_DISTILL_RATE, and less for models of small KLD. */
    double rate;
} en_distill_options;

enum { EN_DISTILL_TOKENS = 20480, EN_DISTILL_CHECK_TOKENS = 4096 };
#define EN_DISTILL_RATE     3e-3
#define EN_DISTILL_RATE_KLD 0.2 /* below this KLD steps are smaller, in proportion */

typedef struct en_distill_report {
    double kld_before, kld_after; /* on the sequences kept apart, nats a token */
    uint64_t n_tokens, n_check_tokens;
    bool is_better; /* else the vectors are as they were */
} en_distill_report;

/*
 * The student's vectors (student->weights.layers[i].attn_norm and so on) are changed in place.  Both decoders are of
 * the same shape and vocabulary, else ENTRO_ERR_ARGUMENT; matrices may be coded, but not packed.  'opt' may be NULL.
 * ENTRO_ERR_ARGUMENT for a text of less than two sequences, ENTRO_ERR_FORMAT for numbers that are not
 * finite, ENTRO_ERR_CANCELLED between batches: the vectors are then as they were.
 */
entro_status en_distill(en_decoder *student, const en_decoder *teacher, const en_calib_text *text,
                        const en_distill_options *opt, en_job *job, en_distill_report *report,
                        entro_error *err);

#endif
