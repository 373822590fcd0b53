/*
 * calib_writer.h - calibration text that the model writes itself: nothing need be fetched, and it is what
 * the model is going to see when it generates.
 *
 * Many texts at once, one token of each per step, so that each step reads the weights once, rounded to bytes
 * (writer_weights.h):
 *
 *   step p:  token p of all texts -> embedding -> layers (matrices: all texts together; attention: each
 *            text with its own keys and values) -> logits -> a draw for each text
 *
 * A text begins with BOS (or what ends the text before, where models see none), and most go on with words
 * or a request of a list (calib_beginnings.h).  The end of a text is a token like others: the next one
 * follows in the same sequence.
 */
#ifndef EN_CALIB_CALIB_WRITER_H
#define EN_CALIB_CALIB_WRITER_H

#include "base/job.h"
#include "calib/calib_text.h"
#include "model/decoder.h"

/*
 * Texts of n_tokens in all (in whole sequences of n_positions), the same for the same model, seed and kind
 * of processor.  Written to FOLDER/text.gguf, from which they are read when they are there already;
 * the folder is made when it is not.  What is written is saved on the way (unfinished_text.h), and a run that was
 * stopped goes on from there.  Memory: a byte a weight, and keys and values in int8.
 * ENTRO_ERR_CANCELLED between steps; ENTRO_ERR_FORMAT when the model's logits are not finite.
 */
#define EN_CALIB_CACHE_BYTES ((size_t)2 << 30)
typedef struct en_calib_writing {
    uint32_t n_positions;
    uint64_t n_tokens, seed;
    const en_meta *meta; /* whose chat template is used; NULL: none */
    size_t cache_bytes;  /* of keys and values at most, but for one text; 0: EN_CALIB_CACHE_BYTES */
} en_calib_writing;
entro_status en_calib_text_write(en_calib_text *text, const char *folder, const en_decoder *decoder,
                                 const en_tokenizer *tokenizer, const en_calib_writing *how,
                                 en_job *job, entro_error *err);

#endif
