/*
 * divergence.h - how far a model's predictions are from a reference's, on the same text.
 */
#ifndef EN_EVAL_DIVERGENCE_H
#define EN_EVAL_DIVERGENCE_H

#include "base/status.h"

entro_status en_divergence(const entro_model *reference, const entro_model *model, const char *text,
                           size_t n_text, const entro_divergence_options *opt,
                           entro_divergence_report *report, entro_error *err);

#endif
