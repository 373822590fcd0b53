/*
 * api_text.c - text to tokens and back, and conversations.
 */
#include "engine/engine.h"
#include "text/chat.h"

static entro_status need_tokenizer(const entro_model *model, entro_error *err)
{
    if (model->tokenizer != NULL)
        return ENTRO_OK;
    entro_status status = en_fail(
        err, ENTRO_ERR_NOT_FOUND,
        "the model has no tokenizer: its file holds no tokenizer.ggml.* keys, or its folder no "
        "tokenizer.json or tokenizer.model; fetch the missing file, or another conversion");
    en_error_place(err, "%s", en_source_path(model->source));
    return status;
}

entro_status entro_tokenize(const entro_model *model, const char *text, size_t n_text,
                            bool add_special, bool parse_special, entro_token *tokens, size_t n_max,
                            size_t *n_out, entro_error *err)
{
    EN_TRY(need_tokenizer(model, err));
    return en_tokenizer_encode(model->tokenizer, text, n_text, add_special, parse_special, tokens,
                               n_max, n_out, err);
}

/* The public handle is en_text_stream under another name: both types are incomplete outside
 * text/, and the pointer is only ever cast back. */
entro_status entro_text_stream_new(entro_text_stream **out, const entro_model *model,
                                   bool show_special, entro_error *err)
{
    EN_TRY(need_tokenizer(model, err));
    en_text_stream *stream;
    EN_TRY(en_text_stream_new(&stream, model->tokenizer, show_special, err));
    *out = (entro_text_stream *)stream;
    return ENTRO_OK;
}

void entro_text_stream_free(entro_text_stream *stream)
{
    en_text_stream_free((en_text_stream *)stream);
}

entro_status entro_text_stream_put(entro_text_stream *stream, entro_token token, const char **text,
                                   size_t *n_text, entro_error *err)
{
    return en_text_stream_put((en_text_stream *)stream, token, text, n_text, err);
}

entro_status entro_text_stream_finish(entro_text_stream *stream, const char **text, size_t *n_text,
                                      entro_error *err)
{
    return en_text_stream_finish((en_text_stream *)stream, text, n_text, err);
}

bool entro_token_ends(const entro_model *model, entro_token token)
{
    return model->tokenizer != NULL && en_tokenizer_ends(model->tokenizer, token);
}

entro_status entro_chat_format(const entro_model *model, const entro_chat_message *messages,
                               size_t n_messages, bool add_assistant, char **out, entro_error *err)
{
    return en_chat_format(en_source_meta(model->source), messages, n_messages, add_assistant, out,
                          err);
}
