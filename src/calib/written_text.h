/*
 * written_text.h - text.gguf: what a model has written (calib_writer.h), kept in the folder of statistics.
 */
#ifndef EN_CALIB_WRITTEN_TEXT_H
#define EN_CALIB_WRITTEN_TEXT_H

#include "calib/calib_text.h"
#include "calib/statistics_file.h"

#define EN_WRITTEN_TEXT_NAME "written by the model"

entro_status en_written_text_store(const char *path, const en_statistics_identity *id,
                                   const en_calib_text *text, entro_error *err);
/* Whether the file holds just this text, as long as 'text' says, whose tokens it fills in; a damaged one does not. */
bool en_written_text_load(const char *path, const en_statistics_identity *id, uint32_t n_vocab,
                          en_calib_text *text);

/*
 * A text of this model that is in the folder already, of at least n_tokens, whatever its seed: as many of its
 * sequences as that takes.  ENTRO_ERR_NOT_FOUND when there is none; a damaged one is none.
 */
entro_status en_calib_text_find(en_calib_text *text, const char *folder, const en_decoder *decoder,
                                uint32_t n_positions, uint64_t n_tokens, entro_error *err);

#endif
