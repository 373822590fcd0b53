/*
 * perplexity.h - perplexity of a text by llama.cpp's windows and scoring.
 */
#ifndef EN_EVAL_PERPLEXITY_H
#define EN_EVAL_PERPLEXITY_H

#include "base/status.h"

entro_status en_perplexity(const entro_model *model, const char *text, size_t n_text,
                           const entro_perplexity_options *opt, entro_perplexity_report *report,
                           entro_error *err);

#endif
