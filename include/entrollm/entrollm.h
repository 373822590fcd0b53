/*
 * entrollm.h - the public interface of EntroLLM.
 *
 * EntroLLM quantizes a language model, entropy-codes the integers, stores the result in one
 * GGUF v3 file and runs it from the coded weights.
 *
 * Conventions
 *   - Every function that can fail returns entro_status; 0 is success.  The last argument
 *     'err' may be NULL; when it is not, it is filled on failure and untouched on success.
 *   - Options structs start with 'struct_size'; fill them with their _init() function, then
 *     change what you need.  New fields are only ever appended.
 *   - 'const char *' results are UTF-8, borrowed, and live as long as the handle they came from.
 *   - The library never prints, never exits and installs no signal handlers.
 *   - It counts the memory of the JSON library jansson: a program that links both finds jansson's
 *     allocation functions set before main(), and frees what json_dumps() gives with the function
 *     that json_get_alloc_funcs() names.
 *   - A model is immutable after opening and may be used from any number of threads.  A session,
 *     a sampler and a text stream belong to one thread at a time.
 */
#ifndef ENTROLLM_H
#define ENTROLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define ENTRO_API
#elif defined(__GNUC__)
#define ENTRO_API __attribute__((visibility("default")))
#else
#define ENTRO_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------------------- */

/* Numbers are pinned; new ones are appended. */
typedef enum entro_status {
    ENTRO_OK = 0,
    ENTRO_ERR_NOMEM = 1,       /* an allocation failed */
    ENTRO_ERR_IO = 2,          /* the operating system refused a read, write, map, rename ... */
    ENTRO_ERR_FORMAT = 3,      /* the bytes are not what the format says (damaged, truncated) */
    ENTRO_ERR_VERSION = 4,     /* made by a newer tool: unknown version or feature bit */
    ENTRO_ERR_CHECKSUM = 5,    /* a checksum or a coded stream does not match */
    ENTRO_ERR_UNSUPPORTED = 6, /* understood, but this program cannot do it */
    ENTRO_ERR_ARGUMENT = 7,    /* the caller's argument is out of range or inconsistent */
    ENTRO_ERR_NOT_FOUND = 8,   /* a file, tensor, key or name does not exist */
    ENTRO_ERR_EXISTS = 9,      /* the output exists and overwriting was not asked for */
    ENTRO_ERR_NO_SPACE = 10,   /* the disk is full */
    ENTRO_ERR_CANCELLED = 11,  /* a progress callback asked to stop */
    ENTRO_ERR_CONTEXT = 12,    /* the context window is full */
    ENTRO_ERR_MISMATCH = 13    /* two things that should agree do not (verify --source) */
} entro_status;

/* What went wrong, for people.  'message' says what was expected, what was found and what to
 * try; 'where' names the file, and the tensor or key if there is one. */
typedef struct entro_error {
    entro_status status;
    uint64_t offset; /* byte offset in the file; UINT64_MAX when there is none */
    char where[256];
    char message[768];
} entro_error;

/* "0.1.0" */
ENTRO_API const char *entro_version(void);

/* A short lower-case name: "ok", "out of memory", "damaged file" ... */
ENTRO_API const char *entro_status_name(entro_status status);

/* The processor features in use, e.g. "avx512 avx2" or "neon" or "reference"; honours the
 * environment variable ENTRO_CPU_DISABLE (comma separated: amx,bf16,avx512,avx2,neon,dotprod). */
ENTRO_API const char *entro_cpu_name(void);

/* The first name in ENTRO_CPU_DISABLE that is none of these, which has no effect: *n_name characters inside
 * the environment.  NULL: there is none. */
ENTRO_API const char *entro_cpu_unknown(size_t *n_name);

/* Makes every allocation of the library from number 'countdown' on (0 = the next one) fail once;
 * UINT64_MAX, the default, never.  For tests of the library and of programs that use it. */
ENTRO_API void entro_debug_fail_allocation(uint64_t countdown);

/* ---- progress -------------------------------------------------------------------------- */

typedef struct entro_progress {
    const char *
        stage; /* "check", "statistics", "rates", "measure", "encode", "verify", "tune", "perplexity" ... */
    const char *item; /* tensor or file at hand; may be NULL */
    uint64_t done;    /* in 'unit's */
    uint64_t total;   /* 0 when unknown */
    const char *unit; /* "B" for bytes, "tok", "window" */
    double value;     /* stage's running figure (perplexity so far), NAN when none */
    uint64_t resumed; /* of 'done', what an earlier run that was stopped had done of the stage */
    const char *note; /* for people, once: what the stage goes on from; else NULL */
} entro_progress;

/* Called from the thread that runs the job, about ten times a second at most.  Returning false
 * cancels the job, which then fails with ENTRO_ERR_CANCELLED and leaves nothing half-written. */
typedef bool (*entro_progress_fn)(void *user, const entro_progress *progress);

/* ---- model ----------------------------------------------------------------------------- */

typedef struct entro_model entro_model;

typedef enum entro_model_kind {
    ENTRO_MODEL_GGUF = 0,      /* a GGUF file of somebody else's */
    ENTRO_MODEL_HF_FOLDER = 1, /* a Hugging Face folder */
    ENTRO_MODEL_CONTAINER = 2  /* our file, with coded weights */
} entro_model_kind;

/* Matrices in strips run from their coded form, or from a packed one (1 to 8 bits a weight) that is
 * made in memory when the model is opened.  Results are the same, bit for bit.  Matrices in rans are packed
 * in every case but ENTRO_KEEP_WITHIN, which leaves those that do not fit to be decoded for every token:
 * slowly. */
typedef enum entro_keep {
    ENTRO_KEEP_AUTO = 0, /* packed where a short measurement finds that faster and memory is free */
    ENTRO_KEEP_CODED = 1,  /* least memory */
    ENTRO_KEEP_PACKED = 2, /* all packed */
    ENTRO_KEEP_WITHIN = 3  /* as many packed as fit into ram_bytes */
} entro_keep;

typedef struct entro_model_options {
    size_t struct_size;
    bool metadata_only; /* inspect: tensors and metadata, no tokenizer, nothing prepared to run */
    entro_keep keep;
    uint64_t ram_bytes; /* ENTRO_KEEP_WITHIN: for all weights, coded and packed */
    uint32_t n_threads; /* for packing and measuring; 0: one a processor */
} entro_model_options;

ENTRO_API void entro_model_options_init(entro_model_options *opt);

/*
 * Opens a container, a GGUF file or a Hugging Face folder and maps its weights.  *out is set on
 * success and must be closed with entro_model_close(), after the sessions that use it.
 * 'opt' may be NULL (defaults).  A model without tokenizer opens; tokenizing then fails with
 * ENTRO_ERR_NOT_FOUND.
 */
ENTRO_API entro_status entro_model_open(entro_model **out, const char *path,
                                        const entro_model_options *opt, entro_error *err);
ENTRO_API void entro_model_close(entro_model *model);

typedef struct entro_model_info {
    entro_model_kind kind;
    const char *architecture; /* "llama", "qwen2" ... */
    const char *name;         /* general.name, or "" */
    const char *recipe;       /* how a container was made, e.g. "u8 table=tensor"; else "" */
    const char *tool;         /* tool and version that made it; else "" */
    const char *tokenizer;    /* "byte-level BPE (qwen2)", "SentencePiece BPE"; "" if none */
    uint64_t n_params;        /* weights of all tensors, tied ones once */
    uint64_t n_file_bytes;    /* whole file, or all weight files of a folder */
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, n_ff, n_vocab;
    uint32_t n_ctx_train; /* context the model was trained for */
    uint32_t n_tensors;
    bool has_chat_template;
    /* matrices in strips (entro_keep): how many, how many of them are packed, bytes that takes */
    uint32_t n_strip_matrices, n_packed_matrices;
    uint64_t n_packed_bytes;
    /* files that entro_restore() can give back byte for byte; a folder, or one GGUF file */
    uint32_t n_original_files;
    bool original_is_folder;
} entro_model_info;

ENTRO_API void entro_model_get_info(const entro_model *model, entro_model_info *info);

typedef struct entro_tensor_info {
    const char *name;
    /* "F32", "Q4_K", ... or the coding: "huffman" (words), "strips", "rans", "planes" */
    const char *type;
    const char
        *method; /* "u8", "u4", "u8-row", "u4-row", "rtn", "lossless" of a coded one; else "" */
    const char *table; /* "tensor" or "model" of a coded tensor; else "" */
    uint32_t n_dims;
    uint64_t dims[4];      /* dims[0] = columns (contiguous), dims[1] = rows */
    uint64_t n_params;     /* product of dims */
    uint64_t n_bytes;      /* stored bytes, tables and side data included */
    uint64_t n_side_bytes; /* of these: header, scales, table, segment index */
    double bits;           /* 8 n_bytes / n_params */
    double entropy;        /* of the coded integers, bits each; NAN when not coded */
    double huffman_bits;   /* an ideal one-symbol Huffman code of them would take this; NAN ... */
    float step_min, step_max; /* quantization steps of the rows; NAN when there are none */
    uint64_t offset;          /* of its data in the file */
    const char *mode;         /* of strips: "N0" to "N2", "W1" to "W4", "mixed"; of planes: the type
                                 of the numbers, "BF16"; else "" */
    double exceptions;        /* share of a strips tensor's integers on its list; NAN ... */
} entro_tensor_info;

/* 'i' < n_tensors, in file order. */
ENTRO_API entro_status entro_model_get_tensor(const entro_model *model, uint32_t i,
                                              entro_tensor_info *info, entro_error *err);

/* Number of metadata keys; key number 'i' and its value as text (long arrays shortened).
 * Returns the length of the whole text; at most 'n_value' bytes, always terminated, are written. */
ENTRO_API uint32_t entro_model_n_keys(const entro_model *model);
ENTRO_API size_t entro_model_get_key(const entro_model *model, uint32_t i, const char **key,
                                     char *value, size_t n_value);

/* ---- text ------------------------------------------------------------------------------ */

typedef int32_t entro_token;

/*
 * Text to token ids.  'add_special' adds what the model wants around a text (BOS, EOS);
 * 'parse_special' turns "<|im_end|>" and its like into their ids instead of plain text.
 * Writes at most 'n_max' ids and sets *n_out to the number needed; when that is more than n_max
 * the call still succeeds, so that (NULL, 0) asks for the size.  Any bytes are accepted.
 */
ENTRO_API entro_status entro_tokenize(const entro_model *model, const char *text, size_t n_text,
                                      bool add_special, bool parse_special, entro_token *tokens,
                                      size_t n_max, size_t *n_out, entro_error *err);

/* Token ids to text, piece by piece; a UTF-8 sequence split over tokens comes out whole. */
typedef struct entro_text_stream entro_text_stream;
ENTRO_API entro_status entro_text_stream_new(entro_text_stream **out, const entro_model *model,
                                             bool show_special, entro_error *err);
ENTRO_API void entro_text_stream_free(entro_text_stream *stream);
/* The text that 'token' completes: *text is borrowed until the next call, *n_text may be 0. */
ENTRO_API entro_status entro_text_stream_put(entro_text_stream *stream, entro_token token,
                                             const char **text, size_t *n_text, entro_error *err);
/* What is held back at the end (an incomplete sequence comes out as U+FFFD). */
ENTRO_API entro_status entro_text_stream_finish(entro_text_stream *stream, const char **text,
                                                size_t *n_text, entro_error *err);

/* Does generation end with this token? */
ENTRO_API bool entro_token_ends(const entro_model *model, entro_token token);

typedef struct entro_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} entro_chat_message;

/*
 * Writes the conversation as the model's chat template wants it.  *out is allocated, terminated
 * and freed with entro_free().  ENTRO_ERR_NOT_FOUND: the model has no template;
 * ENTRO_ERR_UNSUPPORTED: it has one of a family we do not know.
 */
ENTRO_API entro_status entro_chat_format(const entro_model *model,
                                         const entro_chat_message *messages, size_t n_messages,
                                         bool add_assistant, char **out, entro_error *err);
ENTRO_API void entro_free(void *p);

/* ---- session --------------------------------------------------------------------------- */

typedef struct entro_session entro_session;

/* How a session keeps the keys and values of the tokens in its context. */
typedef enum entro_kv_type {
    ENTRO_KV_F16 = 0,
    ENTRO_KV_INT8 = 1 /* with an f16 scale for every 32 numbers: 53 % of the memory of f16 */
} entro_kv_type;

typedef struct entro_session_options {
    size_t struct_size;
    uint32_t n_ctx;     /* tokens the KV cache holds; 0: the trained context, at most 4096 */
    uint32_t n_threads; /* 0: one a processor */
    uint32_t n_batch;   /* tokens evaluated together in a prompt; 0: 128 */
    entro_kv_type kv_type;
} entro_session_options;

ENTRO_API void entro_session_options_init(entro_session_options *opt);

/* The model must outlive the session. */
ENTRO_API entro_status entro_session_open(entro_session **out, const entro_model *model,
                                          const entro_session_options *opt, entro_error *err);
ENTRO_API void entro_session_close(entro_session *session);

/*
 * Appends tokens to the context and computes the logits after the last one.  ENTRO_ERR_CONTEXT
 * when they do not fit (nothing is appended); ENTRO_ERR_CHECKSUM when a coded stream is damaged;
 * ENTRO_ERR_FORMAT when a logit is NaN or infinite.
 */
ENTRO_API entro_status entro_session_decode(entro_session *session, const entro_token *tokens,
                                            size_t n_tokens, entro_error *err);

/* n_vocab logits after the last token; borrowed until the next decode.  NULL before any. */
ENTRO_API const float *entro_session_logits(const entro_session *session);

/*
 * As decode, and also the logits after each of the tokens: 'logits' takes n_tokens * n_vocab
 * floats, row i after token i.
 */
ENTRO_API entro_status entro_session_decode_all(entro_session *session, const entro_token *tokens,
                                                size_t n_tokens, float *logits, entro_error *err);

ENTRO_API uint32_t entro_session_n_past(const entro_session *session); /* tokens in the context */
ENTRO_API uint32_t entro_session_n_ctx(const entro_session *session);
/* Drops all but the first 'n_keep' tokens (no-op when there are fewer). */
ENTRO_API void entro_session_truncate(entro_session *session, uint32_t n_keep);

/* What the session holds in memory, in bytes. */
typedef struct entro_memory {
    uint64_t file; /* mapped weights */
    uint64_t kv_cache;
    uint64_t compute;       /* activations, tiles, logits of this session */
    uint64_t other;         /* tables, tokenizer, metadata: everything else allocated */
    uint64_t peak_resident; /* of the whole process, as the system counts it; 0 if unknown */
} entro_memory;

ENTRO_API void entro_session_get_memory(const entro_session *session, entro_memory *memory);

/* ---- sampling -------------------------------------------------------------------------- */

typedef struct entro_sampler entro_sampler;

typedef struct entro_sampler_options {
    size_t struct_size;
    float temperature;      /* 0: greedy */
    uint32_t top_k;         /* 0: off */
    float top_p;            /* 1: off */
    float min_p;            /* 0: off */
    float repeat_penalty;   /* 1: off */
    uint32_t repeat_last_n; /* tokens looked back at */
    uint64_t seed;
} entro_sampler_options;

ENTRO_API void entro_sampler_options_init(entro_sampler_options *opt);
ENTRO_API entro_status entro_sampler_new(entro_sampler **out, uint32_t n_vocab,
                                         const entro_sampler_options *opt, entro_error *err);
ENTRO_API void entro_sampler_free(entro_sampler *sampler);
/* Tells the sampler of a token that came from elsewhere (the prompt), for the repeat penalty. */
ENTRO_API void entro_sampler_accept(entro_sampler *sampler, entro_token token);
/* Picks the next token from n_vocab logits and accepts it.  Same seed, logits and history: same
 * token, on every machine and thread count. */
ENTRO_API entro_token entro_sampler_sample(entro_sampler *sampler, const float *logits);

/* ---- drafts ---------------------------------------------------------------------------- */

/*
 * Prompt-lookup speculation.  Drafts are guesses of the next tokens from the context's own n-grams;
 * entro_session_decode_all() verifies several in one pass over the weights:
 *
 *   next = a token sampled, not yet decoded;  n = entro_drafter_propose(d, draft, n_max)
 *   decode_all({next, draft[0], ..., draft[n-1]}) -> n + 1 rows of logits
 *   sample from row 0: while the sample equals the draft, go on with the next row
 *   truncate the session to what was right
 *
 * Every token is sampled from the model's own distribution given the tokens before it, so the text is
 * distributed as without drafts; with matrices in strips it is the very same text.
 */
typedef struct entro_drafter entro_drafter;

ENTRO_API entro_status entro_drafter_new(entro_drafter **out, entro_error *err);
ENTRO_API void entro_drafter_free(entro_drafter *drafter);
/* The context grows by these tokens. */
ENTRO_API entro_status entro_drafter_accept(entro_drafter *drafter, const entro_token *tokens,
                                            size_t n_tokens, entro_error *err);
/* Forgets all but the first n_keep tokens. */
ENTRO_API void entro_drafter_truncate(entro_drafter *drafter, size_t n_keep);
/* Writes at most n_max guesses; returns how many, 0 when the context gives no reason for any. */
ENTRO_API size_t entro_drafter_propose(const entro_drafter *drafter, entro_token *draft,
                                       size_t n_max);

/* ---- jobs ------------------------------------------------------------------------------ */

enum { ENTRO_HISTOGRAM_VALUES = 256 };

/* How often each integer occurs: a run of values around the most frequent one, no longer than it takes to
 * leave out one integer in 10,000 (or as long as there is room). */
typedef struct entro_histogram {
    int32_t first; /* counts[0] is of this value, counts[1] of the next ... */
    uint32_t n_values;
    uint64_t n_others; /* integers left out */
    uint64_t counts[ENTRO_HISTOGRAM_VALUES];
} entro_histogram;

/* What became of one coded tensor. */
typedef struct entro_tensor_account {
    const char *name, *method; /* borrowed for the call */
    uint64_t n_params, n_bytes;
    double bits;      /* 8 n_bytes / n_params */
    double entropy;   /* of its integers, under tables of classes where it has classes; bits each */
    double rms_error; /* rms(w - w') / rms(w) */
    double loss; /* estimate of what the error adds to the loss, nats a token; NAN: not known */
    double exceptions;                     /* share of the integers; NAN when not in strips */
    uint32_t n_row_classes, n_col_classes; /* with tables of their own; 1, 1 when not in strips */
    uint32_t pass;                         /* of the search for a size, from 0 */
    /* What steps gained: 'entropy' without classes, and 'loss' had each weight been rounded by itself with the
     * same steps, without feedback of the others' errors.  NAN: not known. */
    double entropy_one_table, loss_alone;
    const entro_histogram
        *histogram; /* of its integers; borrowed for the call; NULL of "lossless" */
} entro_tensor_account;

typedef void (*entro_account_fn)(void *user, const entro_tensor_account *account);

typedef struct entro_compress_options {
    size_t struct_size;
    /* of coded tensors: "watersic" (calibrated, at a size; 4 bits a parameter where none is asked for), as
     * NULL; "u8", "u4", "u8-row", "u4-row", "rtn", "u4-row-sparse"; "lossless": every bit of every tensor and
     * file is kept */
    const char *method;
    const char *table; /* "tensor": one code table a tensor; "model": one for all */
    /* Overrides by name, first match wins: "PATTERN=METHOD", METHOD also "rtn:BITS", "keep" (stored
     * as in the source), "f16" or "f32"; PATTERN is a shell pattern over names like blk.0.attn_q.weight. */
    const char *const *overrides;
    size_t n_overrides;
    uint32_t n_threads; /* 0: one a processor */
    bool overwrite;
    entro_progress_fn progress;
    void *progress_user;
    /* "words", "strips" (fast to decode; tables of each tensor), "rans" (the smallest file; packed in memory
     * to run; the tokenizer is compressed too), or "auto", as NULL: rans for "watersic", else strips wherever
     * they can be, but rans for matrices whose strips would take more than 7.5 bits a weight. */
    const char *coding;
    double bits; /* entropy that rtn aims at, 1 to 9 bits a weight; 0: 4 */
    /* How large the file is to become, everything counted: met from below, within 0.5 %, or 2 % where the sizes
     * of a tiny model have steps (report's 'size_below').  For "watersic" and "rtn".  Bits are a parameter's, of
     * the whole file.  At most one of the two; 0: not asked. */
    uint64_t file_bytes;
    double bits_per_param;
    /* Folder of what calibration has found about this model (docs/statistics.md): used when it is there,
     * else made.  NULL: 'path' with ".calib" behind it. */
    const char *statistics;
    /* Text to calibrate on: plain files or JSON lines.  None: text that the model writes itself. */
    const char *const *calib;
    size_t n_calib;
    uint64_t n_calib_tokens; /* 0: 40960, or as many as there are; 32768 of the model's own text */
    uint64_t seed;           /* of the text the model writes, and of sampled labels */
    /* Instead of a size: the smallest file whose expected KLD to the source is at most this, nats a token (of
     * "watersic"); 0: not asked.  What is expected is report's 'expected_kld'; measure it. */
    double max_kld;
    entro_account_fn account; /* called for every coded tensor, in every pass; may be NULL */
    void *account_user;
    /* Tokens that the finished file's gains and biases then learn from, as entro_tune() does, of the same text;
     * 0: they stay the source's. */
    uint64_t n_tune_tokens;
    /* Tokens of the same text that matrices of "watersic" are corrected with, for what quantization has done to
     * their inputs (calib/drift.h): a better file of the same size for a longer time; 0: they are not. */
    uint64_t n_drift_tokens;
} entro_compress_options;

ENTRO_API void entro_compress_options_init(entro_compress_options *opt);

typedef struct entro_compress_report {
    uint64_t n_params, n_source_bytes, n_file_bytes;
    uint64_t n_coded_params, n_coded_bytes; /* of the coded tensors, side data included */
    uint64_t n_table_bytes;
    uint32_t n_tensors, n_coded_tensors;
    double entropy; /* mean bits of the coded integers under their own table */
    double bits_per_coded_param, bits_per_param; /* the latter: whole file */
    double bits_other_table; /* bits a coded weight if --table had been the other choice; NAN when a
                                tensor is coded in strips */
    double huffman_bits;     /* plain one-symbol Huffman code of the same integers; NAN when there
                                are integers of any size */
    double max_error, rms_error,
        rms_weight; /* over all coded weights; from corrected ones (n_drift_tokens) */
    double seconds;
    uint64_t peak_resident;
    uint32_t n_strip_tensors; /* of the coded ones, those in strips or rans ... */
    uint32_t n_rans_tensors;  /* ... of these, those in rans */
    uint64_t n_strip_params;
    uint64_t n_exceptions;    /* integers in strips or rans that stand on a list of their own */
    uint32_t n_exact_tensors; /* of the coded ones, those of method lossless */
    /* Files of the source that can be restored byte for byte (0: the model was changed), bytes that
     * takes beyond the weights, and a folder's files that were left out: larger than 64 MiB and no
     * weights that are used, GGUF files, folders. */
    uint32_t n_original_files, n_left_out;
    uint64_t n_original_bytes;
    double loss; /* estimate of what the errors add to the loss, nats a token; NAN when a coded
                           tensor has none */
    double
        expected_kld; /* 2.1 times that; measured were 1.5 to 2.0 times on prose unlike the prose of calibration, and 6
                         to 10 times on prose where a model of code had written the text itself; NAN likewise */
    uint32_t n_passes;  /* that the search for a size took */
    double rate_choice; /* what was searched: log2 of the slope of "watersic", bits of "rtn"; NAN */
    /* Of tuning, where it was asked for: tokens learnt from and tokens kept apart, on which the KLD to the
     * source was measured, nats a token.  Not tuned: it was no better, and the file is as without it. */
    uint64_t n_tune_tokens, n_check_tokens; /* 0: not asked for */
    double kld_untuned, kld_tuned;          /* NAN: likewise */
    bool is_tuned;
    uint64_t n_drift_tokens; /* that matrices were corrected with; 0: they were not */
    /* Share by which size or expected KLD are below what was asked for; NAN: that was not.  'is_asked_met': by no
     * more than 0.5 % of the size, 4 % of the KLD; else this was the nearest that could be made. */
    double size_below, kld_below;
    bool is_asked_met;
} entro_compress_report;

/* Reads 'source' (GGUF file or Hugging Face folder) and writes the container 'path' under a
 * temporary name, renamed when complete.  'report' may be NULL.  Where tuning is asked for it begins when the file
 * is complete: should it fail, the file is there, not tuned, and the message says so. */
ENTRO_API entro_status entro_compress(const char *source, const char *path,
                                      const entro_compress_options *opt,
                                      entro_compress_report *report, entro_error *err);

typedef struct entro_tune_options {
    size_t struct_size;
    uint64_t n_tokens; /* to learn from; 0: 20480, or as many as there are */
    /* As in entro_compress_options.  Text the model has written is looked for in the folder, and kept there.
     * NULL: 'model' with ".calib" behind it. */
    const char *statistics;
    const char *const *calib;
    size_t n_calib;
    uint64_t seed; /* of the text the model writes */
    uint32_t n_threads;
    bool overwrite;
    entro_progress_fn progress;
    void *progress_user;
} entro_tune_options;

ENTRO_API void entro_tune_options_init(entro_tune_options *opt);

typedef struct entro_tune_report {
    size_t struct_size;
    double kld_before, kld_after; /* to the source, on tokens kept apart, nats a token */
    uint64_t n_tokens, n_check_tokens;
    bool is_better;     /* else nothing was written */
    uint32_t n_tensors; /* gains and biases that were written, and how many numbers they are */
    uint64_t n_values;
    uint64_t n_file_bytes; /* 0: nothing was written */
    double seconds;
    uint64_t peak_resident;
} entro_tune_report;

/*
 * Fine-tunes the gains of norms and the biases of 'model', a container made from 'source', so that its
 * predictions follow the source's, and writes 'path': the same file with these vectors, the matrices byte
 * for byte.  'path' may be 'model' with 'overwrite': it is replaced when the new file is complete.  The model is
 * compared with the source first: ENTRO_ERR_MISMATCH, _CHECKSUM as entro_verify().  ENTRO_ERR_ARGUMENT when
 * 'model' is no container or a lossless one, or the text shorter than two sequences of 512 tokens.  When it has
 * not become better on the tokens kept apart, nothing is written: ENTRO_OK, and the report says so.  'report',
 * whose struct_size must be set, may be NULL.
 */
ENTRO_API entro_status entro_tune(const char *source, const char *model, const char *path,
                                  const entro_tune_options *opt, entro_tune_report *report,
                                  entro_error *err);

typedef struct entro_job_options {
    size_t struct_size;
    uint32_t n_threads;
    bool overwrite;
    entro_progress_fn progress;
    void *progress_user;
} entro_job_options;

ENTRO_API void entro_job_options_init(entro_job_options *opt);

typedef struct entro_restore_report {
    uint64_t n_file_bytes;
    uint32_t n_tensors;
    uint64_t n_clipped; /* weights outside the range of f16, written as its largest value */
    uint32_t n_files;   /* written: 1, or those of a folder */
    bool is_original;   /* they are the source's, byte for byte, and their checksums say so */
    bool is_folder;
} entro_restore_report;

/*
 * Writes a plain GGUF file: 2-D weights as f16 ('type' "f16"; also "bf16", "f32").  Type "original"
 * gives back the files that a lossless container was made from, byte for byte: a GGUF file, or a
 * folder (made under a temporary name; into an existing one only with 'overwrite', file by file).
 * NULL: the original where the container holds it, else f16.
 */
ENTRO_API entro_status entro_restore(const char *model, const char *path, const char *type,
                                     const entro_job_options *opt, entro_restore_report *report,
                                     entro_error *err);

typedef struct entro_verify_report {
    uint32_t n_tensors; /* checksums compared */
    uint64_t n_bytes;
    uint32_t n_compared; /* tensors compared with the source; 0 without one */
    double max_steps;    /* largest |weight - source| in quantization steps (0.5 is perfect) */
    double rms_error;    /* relative: rms(error) / rms(weight) */
    uint32_t n_files;    /* originals that were made once more, for their checksums */
} entro_verify_report;

/* Checks structure, every checksum and every coded stream of a container, and that original files
 * come out as they were; with 'source' (or NULL) also that each weight lies within half a step of the
 * source's, of a lossless one that it is the same; of "watersic", whose errors make up for each other, that
 * weights have the signs of the source's, more than by chance (max_steps then does not count them); of a tuned model, that gains
 * and biases are near them. */
ENTRO_API entro_status entro_verify(const char *path, const char *source,
                                    const entro_job_options *opt, entro_verify_report *report,
                                    entro_error *err);

typedef struct entro_perplexity_options {
    size_t struct_size;
    uint32_t n_ctx;     /* tokens a window; 512 */
    uint32_t n_windows; /* 0: all */
    uint32_t n_threads, n_batch;
    entro_progress_fn progress;
    void *progress_user;
    /* Tokens evaluated together see one another's keys and values as they were computed, those of earlier
     * batches as they were kept: what this choice costs shows with a small n_batch. */
    entro_kv_type kv_type;
} entro_perplexity_options;

ENTRO_API void entro_perplexity_options_init(entro_perplexity_options *opt);

typedef struct entro_perplexity_report {
    double perplexity, perplexity_error; /* exp of the mean and its standard error */
    double nll;                          /* mean, nats a token */
    uint64_t n_scored;
    uint32_t n_windows;
    uint64_t n_tokens; /* of the text */
    double seconds;
} entro_perplexity_report;

/* Perplexity of a text by llama.cpp's rule: windows of n_ctx tokens that do not overlap, each
 * starting with BOS where the model wants one, the second half of each window scored. */
ENTRO_API entro_status entro_perplexity(const entro_model *model, const char *text, size_t n_text,
                                        const entro_perplexity_options *opt,
                                        entro_perplexity_report *report, entro_error *err);

enum { ENTRO_N_WORST = 8 };

/* A scored token that two models see most differently. */
typedef struct entro_worst_token {
    double kld;
    uint32_t window, position; /* the prediction after this position of this window ... */
    entro_token token;         /* ... of this token */
} entro_worst_token;

typedef struct entro_divergence_report {
    double kld, kld_error; /* mean of the reference's Kullback-Leibler divergence, nats a token */
    double kld_median, kld_99, kld_max;
    double same_top; /* share of tokens whose likeliest next token is the same */
    double reference_perplexity, perplexity;
    uint64_t n_scored;
    uint32_t n_windows;
    double seconds;
    uint32_t n_worst;
    entro_worst_token worst[ENTRO_N_WORST]; /* worst first */
    bool reference_reused;                  /* 'cache' held the predictions: not run again */
} entro_divergence_report;

typedef struct entro_divergence_options {
    size_t struct_size;
    uint32_t n_ctx;     /* tokens a window; 512 */
    uint32_t n_windows; /* 0: all */
    uint32_t n_threads, n_batch;
    entro_progress_fn progress; /* stages "reference" (when 'cache' is made) and "KLD" */
    void *progress_user;
    /* A file for the reference's predictions, so that a second model, or a second run, need not run
     * it again: made when it does not exist, read when it does.  4 n_embd bytes a scored token.
     * NULL: none, both models run side by side.  Results are the same. */
    const char *cache;
    bool overwrite_cache; /* make it anew in any case */
    /* Of 'model', see entro_perplexity_options; that of 'reference' is f16 in any case. */
    entro_kv_type kv_type;
} entro_divergence_options;

ENTRO_API void entro_divergence_options_init(entro_divergence_options *opt);

/*
 * How far 'model' predicts from 'reference' on a text, by the windows of entro_perplexity() and the
 * definitions of llama.cpp's --kl-divergence.  Both need the same vocabulary.
 * ENTRO_ERR_MISMATCH: 'cache' holds another model's predictions, or those on another text, or too
 * few windows; ENTRO_ERR_FORMAT or _CHECKSUM: it is something else, or damaged.
 */
ENTRO_API entro_status entro_divergence(const entro_model *reference, const entro_model *model,
                                        const char *text, size_t n_text,
                                        const entro_divergence_options *opt,
                                        entro_divergence_report *report, entro_error *err);

/* ---- evaluation ------------------------------------------------------------------------ */

/*
 * Questions with known answers, from a file of JSON lines.  One form a file, told by its keys:
 *
 *   query, choices, gold                        multiple choice (ARC, PIQA, MMLU ...)
 *   ctx_a, ctx_b, activity_label (or ctx), endings, label
 *                                               multiple choice as HellaSwag is published
 *   context_options, continuation, gold         partial evaluation (WinoGrande): the options differ
 *                                               in the context, what follows is the same
 *   question, answer ("... #### 18")            a number to be generated (GSM8K)
 *
 * Definitions are lm-evaluation-harness's; docs/evaluation.md has them.
 */
typedef struct entro_eval_task entro_eval_task;

typedef enum entro_eval_kind {
    ENTRO_EVAL_CHOICE = 0,
    ENTRO_EVAL_PARTIAL = 1,
    ENTRO_EVAL_NUMBER = 2
} entro_eval_kind;

enum { ENTRO_EVAL_MAX_METRICS = 2 };

typedef struct entro_eval_task_info {
    const char *name; /* of the file, without folder and extension */
    entro_eval_kind kind;
    uint32_t n_questions;
    uint32_t n_metrics;
    /* choice: "acc", "acc_norm"; partial: "acc"; number: "exact_match" (the last number of the
     * text), "strict_match" (the number behind ####) */
    const char *metrics[ENTRO_EVAL_MAX_METRICS];
} entro_eval_task_info;

/* Errors name the line.  The file is read whole and may be gone afterwards. */
ENTRO_API entro_status entro_eval_task_open(entro_eval_task **out, const char *path,
                                            entro_error *err);
ENTRO_API void entro_eval_task_close(entro_eval_task *task); /* NULL is fine */
ENTRO_API void entro_eval_task_get_info(const entro_eval_task *task, entro_eval_task_info *info);

/* How one question went.  Everything is borrowed, for the time of the call. */
typedef struct entro_eval_answer {
    uint32_t question;                  /* its number in the file, from 0 */
    bool right[ENTRO_EVAL_MAX_METRICS]; /* by each metric */
    uint32_t n_choices;                 /* 0: a number was to be generated */
    uint32_t gold;                      /* the right choice */
    const double *log_likelihoods;      /* of each choice, nats, summed over its tokens */
    const char *text;                   /* generated; NULL for choices */
    const char *expected, *found;       /* the number; 'found' by the first metric, "" if none */
} entro_eval_answer;

typedef void (*entro_eval_answer_fn)(void *user, const entro_eval_answer *answer);

typedef struct entro_eval_options {
    size_t struct_size;
    uint32_t n_questions; /* only the first ones; 0: all */
    uint32_t n_threads;
    uint32_t n_batch; /* tokens evaluated together; 0: 128 */
    /* Numbers only: solved questions ahead of each prompt, from 'examples' (its first ones) or, when
     * that is NULL, the last ones of the task, which are then not asked; a prompt in the form of a
     * conversation, by the model's chat template; tokens of an answer at most. */
    uint32_t n_shots; /* 5 */
    const entro_eval_task *examples;
    bool chat;
    uint32_t n_predict;         /* 256 */
    entro_progress_fn progress; /* stage: the task's name; value: the first metric so far */
    void *progress_user;
    entro_eval_answer_fn on_answer; /* after each question, in the calling thread; may be NULL */
    void *answer_user;
    entro_kv_type kv_type;
} entro_eval_options;

ENTRO_API void entro_eval_options_init(entro_eval_options *opt);

/* A share of questions, 0 to 1, and its standard error (NAN for a single question). */
typedef struct entro_eval_share {
    double value, error;
} entro_eval_share;

typedef struct entro_eval_report {
    size_t struct_size;
    uint32_t n_questions; /* that were asked */
    uint32_t n_metrics;
    entro_eval_share metrics[ENTRO_EVAL_MAX_METRICS];
    uint32_t n_cut;    /* questions whose beginning did not fit into the context and was left out */
    uint64_t n_tokens; /* run through the model, and generated */
    double seconds;
} entro_eval_report;

/* Asks the model the task's questions.  'report->struct_size' is set by the caller, or 'report' is
 * NULL.  ENTRO_ERR_NOT_FOUND: no tokenizer, or 'chat' without a template. */
ENTRO_API entro_status entro_eval_run(const entro_eval_task *task, const entro_model *model,
                                      const entro_eval_options *opt, entro_eval_report *report,
                                      entro_error *err);

/* Share and error of n_questions outcomes, and of the differences b[i] - a[i] of two models on the
 * same questions: paired, so that what is hard for both does not blur it. */
ENTRO_API entro_eval_share entro_eval_mean(const bool *outcomes, size_t n_questions);
ENTRO_API entro_eval_share entro_eval_difference(const bool *a, const bool *b, size_t n_questions);

#ifdef __cplusplus
}
#endif
#endif
