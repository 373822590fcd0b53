/*
 * model_identity.h - a number that two models share only when they are the same.
 *
 * XXH3-64 over all metadata and all tensors, wherever the file lies and whatever it is called.  A coded
 * file holds the checksums of its tensors in its metadata, so that is enough; of other models
 * every weight is read.
 */
#ifndef EN_EVAL_MODEL_IDENTITY_H
#define EN_EVAL_MODEL_IDENTITY_H

#include "engine/engine.h"

entro_status en_model_identity(const entro_model *model, uint64_t *identity, entro_error *err);

#endif
