/*
 * chat.h - conversations in the form a model was trained on.
 *
 * The model's Jinja template is not run; its family is recognised by the markers in it (chatml,
 * llama-2, llama-3, mistral, phi-3, zephyr ...) and written by hand here.
 */
#ifndef EN_TEXT_CHAT_H
#define EN_TEXT_CHAT_H

#include "formats/metadata.h"

/* See entro_chat_format(); *out is freed with en_free. */
entro_status en_chat_format(const en_meta *meta, const entro_chat_message *messages,
                            size_t n_messages, bool add_assistant, char **out, entro_error *err);

#endif
