/*
 * chat.c - the chat formats of the supported models' families.
 *
 * A family is told by marks that only its templates have.  BOS is written as text only where it
 * stands between turns: the one in front of everything is added by the tokenizer.
 */
#include "text/chat.h"

#include <stdio.h>

#include "base/memory.h"

typedef struct growing_text {
    char *p;
    size_t cap, n;
    bool failed;
} growing_text;

static void put(growing_text *g, const char *p, size_t n)
{
    if (g->failed || !en_grow((void **)&g->p, &g->cap, g->n + n + 1, SIZE_MAX / 4, 1)) {
        g->failed = true;
        return;
    }
    memcpy(g->p + g->n, p, n);
    g->n += n;
    g->p[g->n] = 0;
}

static void puts_text(growing_text *g, const char *text)
{
    put(g, text, strlen(text));
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The content as Jinja's trim leaves it. */
static void put_trimmed(growing_text *g, const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && is_space(text[n - 1]))
        n--;
    for (; n > 0 && is_space(*text); n--)
        text++;
    put(g, text, n);
}

/* ---- a conversation on its way ---------------------------------------------------------------- */

typedef struct conversation {
    growing_text *out;
    en_span template;
    const char *bos, *eos; /* texts of these tokens, "" when there are none */
    const entro_chat_message *messages;
    size_t n;
    bool add_assistant;
} conversation;

static bool has(const conversation *c, const char *mark)
{
    return memmem(c->template.p, c->template.n, mark, strlen(mark)) != NULL;
}

static bool is_role(const entro_chat_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

static bool starts_with_system(const conversation *c)
{
    return c->n > 0 && is_role(&c->messages[0], "system");
}

/* Length of a line end in a template's constant: the character itself, or "\\n" as it is escaped. */
static size_t line_end_length(const char *p, const char *end)
{
    if (p < end && *p == '\n')
        return 1;
    return end - p >= 2 && p[0] == '\\' && p[1] == 'n' ? 2 : 0;
}

/*
 * The system message that a ChatML template supplies when the conversation has none: the constant
 * text it writes between "<|im_start|>system" with a line end and "<|im_end|>".
 */
static en_span default_system(const conversation *c)
{
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    const char *p = c->template.p, *end = p + c->template.n;
    while ((p = memmem(p, (size_t)(end - p), open, sizeof open - 1)) != NULL) {
        p += sizeof open - 1;
        size_t n_line = line_end_length(p, end);
        p += n_line;
        const char *stop = memmem(p, (size_t)(end - p), close, sizeof close - 1);
        if (stop == NULL)
            break;
        size_t n = (size_t)(stop - p);
        /* A quote or brace in between: the message is put together, not constant. */
        if (n_line > 0 && n > 0 && memchr(p, '\'', n) == NULL && memchr(p, '"', n) == NULL &&
            memchr(p, '{', n) == NULL)
            return (en_span){p, n};
    }
    return (en_span){NULL, 0};
}

static void write_chatml(conversation *c)
{
    en_span preset = default_system(c);
    if (preset.n > 0 && !starts_with_system(c)) {
        puts_text(c->out, "<|im_start|>system\n");
        put(c->out, preset.p, preset.n);
        puts_text(c->out, "<|im_end|>\n");
    }
    for (size_t i = 0; i < c->n; i++) {
        puts_text(c->out, "<|im_start|>");
        puts_text(c->out, c->messages[i].role);
        puts_text(c->out, "\n");
        puts_text(c->out, c->messages[i].content);
        puts_text(c->out, "<|im_end|>\n");
    }
    if (c->add_assistant)
        puts_text(c->out, "<|im_start|>assistant\n");
}

static void write_phi4(conversation *c)
{
    for (size_t i = 0; i < c->n; i++) {
        puts_text(c->out, "<|im_start|>");
        puts_text(c->out, c->messages[i].role);
        puts_text(c->out, "<|im_sep|>");
        puts_text(c->out, c->messages[i].content);
        puts_text(c->out, "<|im_end|>");
    }
    if (c->add_assistant)
        puts_text(c->out, "<|im_start|>assistant<|im_sep|>");
}

static void write_llama3(conversation *c)
{
    for (size_t i = 0; i < c->n; i++) {
        puts_text(c->out, "<|start_header_id|>");
        puts_text(c->out, c->messages[i].role);
        puts_text(c->out, "<|end_header_id|>\n\n");
        put_trimmed(c->out, c->messages[i].content);
        puts_text(c->out, "<|eot_id|>");
    }
    if (c->add_assistant)
        puts_text(c->out, "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

/* Phi-3: turns end with <|end|>; the first templates of the 4k model knew no system turn and left
 * such messages out. */
static void write_phi3(conversation *c)
{
    bool knows_system = has(c, "system");
    bool lines = has(c, "|>\\n") || has(c, "'\\n'") || has(c, "|>\n") || has(c, "'\n'");
    for (size_t i = 0; i < c->n; i++) {
        const entro_chat_message *m = &c->messages[i];
        if (is_role(m, "system") && !knows_system)
            continue;
        puts_text(c->out, "<|");
        puts_text(c->out, m->role);
        puts_text(c->out, lines ? "|>\n" : "|>");
        puts_text(c->out, m->content);
        puts_text(c->out, lines ? "<|end|>\n" : "<|end|>");
    }
    if (c->add_assistant)
        puts_text(c->out, lines ? "<|assistant|>\n" : "<|assistant|>");
}

/* Zephyr, TinyLlama: turns end with EOS. */
static void write_zephyr(conversation *c)
{
    for (size_t i = 0; i < c->n; i++) {
        puts_text(c->out, "<|");
        puts_text(c->out, c->messages[i].role);
        puts_text(c->out, "|>\n");
        puts_text(c->out, c->messages[i].content);
        puts_text(c->out, c->eos);
        puts_text(c->out, "\n");
    }
    if (c->add_assistant)
        puts_text(c->out, "<|assistant|>\n");
}

/* Llama 2: the system message goes into the first user turn; each turn has its own BOS. */
static void write_llama2(conversation *c)
{
    bool first = true;
    const char *system = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const entro_chat_message *m = &c->messages[i];
        if (is_role(m, "system")) {
            system = m->content;
        } else if (is_role(m, "user")) {
            puts_text(c->out, first ? "" : c->bos);
            puts_text(c->out, "[INST] ");
            if (system != NULL) {
                growing_text whole = {0};
                puts_text(&whole, "<<SYS>>\n");
                puts_text(&whole, system);
                puts_text(&whole, "\n<</SYS>>\n\n");
                puts_text(&whole, m->content);
                put_trimmed(c->out, whole.failed ? "" : whole.p);
                c->out->failed |= whole.failed;
                en_free(whole.p);
            } else {
                put_trimmed(c->out, m->content);
            }
            puts_text(c->out, " [/INST]");
            system = NULL;
            first = false;
        } else {
            puts_text(c->out, " ");
            put_trimmed(c->out, m->content);
            puts_text(c->out, " ");
            puts_text(c->out, c->eos);
        }
    }
}

/*
 * Mistral: the spaces around [INST] moved from version to version, and so did the place of the
 * system message: in front of the first user turn (v1), of the last one (v3), or a turn of its own
 * (v7, [SYSTEM_PROMPT]).
 */
typedef struct mistral_style {
    const char *before_inst, *after_inst, *before_end; /* around "[INST]" and before "[/INST]" */
    const char *before_answer;
    bool own_system, system_last;
} mistral_style;

static mistral_style mistral_style_of(const conversation *c)
{
    if (has(c, "[SYSTEM_PROMPT]"))
        return (mistral_style){
            "", has(c, "[INST] ") ? " " : "", "", has(c, "[INST] ") ? " " : "", true, false};
    if (has(c, "[AVAILABLE_TOOLS]")) {
        bool tight = has(c, "\"[INST]\""); /* tekken */
        return (mistral_style){"", tight ? "" : " ", "", tight ? "" : " ", false, true};
    }
    if (has(c, "' [INST] '") || has(c, "\" [INST] \""))
        return (mistral_style){" ", " ", " ", " ", false, false};
    return (mistral_style){"", " ", " ", has(c, "' ' +") ? " " : "", false, false};
}

static void write_mistral(conversation *c)
{
    mistral_style s = mistral_style_of(c);
    const char *system = starts_with_system(c) ? c->messages[0].content : NULL;
    size_t i = system != NULL ? 1 : 0, holder = i;
    if (system != NULL && s.own_system) {
        puts_text(c->out, "[SYSTEM_PROMPT]");
        puts_text(c->out, s.after_inst);
        puts_text(c->out, system);
        puts_text(c->out, "[/SYSTEM_PROMPT]");
        system = NULL;
    }
    for (size_t k = i; k < c->n && s.system_last; k++) {
        if (is_role(&c->messages[k], "user"))
            holder = k;
    }
    for (; i < c->n; i++) {
        const entro_chat_message *m = &c->messages[i];
        if (is_role(m, "user")) {
            puts_text(c->out, s.before_inst);
            puts_text(c->out, "[INST]");
            puts_text(c->out, s.after_inst);
            if (system != NULL && i == holder) {
                puts_text(c->out, system);
                puts_text(c->out, "\n\n");
            }
            puts_text(c->out, m->content);
            puts_text(c->out, s.before_end);
            puts_text(c->out, "[/INST]");
        } else {
            puts_text(c->out, s.before_answer);
            puts_text(c->out, m->content);
            puts_text(c->out, c->eos);
        }
    }
}

/* ---- choosing --------------------------------------------------------------------------------- */

typedef void (*writer)(conversation *c);

static writer writer_for(const conversation *c)
{
    if (has(c, "<|im_start|>"))
        return has(c, "<|im_sep|>") ? write_phi4 : write_chatml;
    if (has(c, "<|start_header_id|>"))
        return write_llama3;
    if (has(c, "[INST]"))
        return has(c, "<<SYS>>") ? write_llama2 : write_mistral;
    if (has(c, "<|assistant|>") && has(c, "<|end|>"))
        return write_phi3;
    if (has(c, "<|assistant|>") && has(c, "<|user|>") && has(c, "eos_token"))
        return write_zephyr;
    return NULL;
}

/* The text of the token that 'key' names, terminated and allocated; NULL when out of memory. */
static char *token_text(const en_meta *meta, const char *key)
{
    const en_meta_value *tokens = en_meta_get(meta, "tokenizer.ggml.tokens");
    uint32_t id = en_meta_u32(meta, key, UINT32_MAX);
    if (tokens == NULL || !tokens->is_array || tokens->type != EN_META_STRING || id >= tokens->n)
        return en_strndup("", 0);
    return en_strndup(tokens->strings[id].p, tokens->strings[id].n);
}

entro_status en_chat_format(const en_meta *meta, const entro_chat_message *messages,
                            size_t n_messages, bool add_assistant, char **out, entro_error *err)
{
    growing_text text = {0};
    conversation c = {.out = &text,
                      .template = en_meta_string(meta, "tokenizer.chat_template"),
                      .messages = messages,
                      .n = n_messages,
                      .add_assistant = add_assistant};
    *out = NULL;
    if (c.template.p == NULL || c.template.n == 0)
        return en_fail(err, ENTRO_ERR_NOT_FOUND,
                       "the model has no chat template (tokenizer.chat_template); it is a base "
                       "model, run it on plain text");
    writer write = writer_for(&c);
    if (write == NULL)
        return en_fail(err, ENTRO_ERR_UNSUPPORTED,
                       "the model's chat template is of no family known here (ChatML, Llama 2, "
                       "Llama 3, Mistral, Phi-3, Phi-4, Zephyr); write the prompt by hand");
    char *bos = token_text(meta, "tokenizer.ggml.bos_token_id");
    char *eos = token_text(meta, "tokenizer.ggml.eos_token_id");
    text.failed = bos == NULL || eos == NULL;
    c.bos = bos;
    c.eos = eos;
    put(&text, "", 0);
    if (!text.failed)
        write(&c);
    en_free(bos);
    en_free(eos);
    if (text.failed) {
        en_free(text.p);
        return en_fail_memory(err);
    }
    *out = text.p;
    return ENTRO_OK;
}
