/*
 * tokenizer.h - text to token ids and back, exactly as the model was trained.
 *
 * Two families, told apart by tokenizer.ggml.model: "gpt2" (byte-level BPE: split by the model's own
 * pre-tokenizer pattern, then merges by rank) and "llama" (SentencePiece BPE: merges by score, bytes
 * as <0xNN> when there is no piece).  Immutable; any number of threads.
 *
 * Text may be any bytes.  A byte that is not part of valid UTF-8 keeps its value (byte-level BPE and
 * <0xNN> can express it); a pre-tokenizer takes it for U+FFFD.  User-defined tokens are found in
 * every text, control tokens only with parse_special.
 *
 * Besides GGUF's keys, which follow llama.cpp, these say what only a tokenizer.json can:
 *   entrollm.tokenizer.strip              array, one number a token: 1 swallows white space in front
 *                                         of it, 2 behind it
 *   entrollm.tokenizer.space_prefix_once  bool: the added space goes in front of the first stretch of
 *                                         text only, not of each that follows a special token
 *   entrollm.tokenizer.space_prefix_if_missing
 *                                         bool: and only where the text has none yet (Metaspace)
 *   entrollm.tokenizer.nfc                bool: text is brought to NFC first, or not, whatever is
 *                                         usual with tokenizer.ggml.pre
 */
#ifndef EN_TEXT_TOKENIZER_H
#define EN_TEXT_TOKENIZER_H

#include "formats/metadata.h"

typedef struct en_tokenizer en_tokenizer;

/* From the tokenizer.* keys.  ENTRO_ERR_NOT_FOUND when there are none.  'meta' must outlive it. */
entro_status en_tokenizer_new(en_tokenizer **out, const en_meta *meta, entro_error *err);
void en_tokenizer_free(en_tokenizer *t);

uint32_t en_tokenizer_n_vocab(const en_tokenizer *t);
const char *en_tokenizer_kind(const en_tokenizer *t); /* "byte-level BPE (qwen2)" */
int32_t en_tokenizer_bos(const en_tokenizer *t);      /* -1: none */
int32_t en_tokenizer_eos(const en_tokenizer *t);
bool en_tokenizer_adds_bos(const en_tokenizer *t); /* encoding with add_special puts BOS in front */
/* EOS, end of turn, end of message: generation stops here. */
bool en_tokenizer_ends(const en_tokenizer *t, int32_t id);

/* See entro_tokenize(). */
entro_status en_tokenizer_encode(const en_tokenizer *t, const char *text, size_t n_text,
                                 bool add_special, bool parse_special, int32_t *ids, size_t n_max,
                                 size_t *n_out, entro_error *err);

/*
 * Decoding piece by piece; see entro_text_stream_put().  A stream that begins with BOS drops the
 * space that encoding put in front of the text.  Control tokens come out only with 'show_special';
 * finish() leaves the stream as new.
 */
typedef struct en_text_stream en_text_stream;
entro_status en_text_stream_new(en_text_stream **out, const en_tokenizer *t, bool show_special,
                                entro_error *err);
void en_text_stream_free(en_text_stream *s);
entro_status en_text_stream_put(en_text_stream *s, int32_t id, const char **text, size_t *n_text,
                                entro_error *err);
entro_status en_text_stream_finish(en_text_stream *s, const char **text, size_t *n_text,
                                   entro_error *err);

#endif
