/* calib_beginnings.c - see calib_beginnings.h. */
#include "calib/calib_beginnings.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "text/chat.h"

/* Kinds take turns in both lists, so that few texts have of each. */
static const char *const requests[] = {
    "Write an encyclopedia article about a river in Europe.",
    "Write a Python function that merges two sorted lists, and explain it.",
    "Tell me a story about a lighthouse keeper.",
    "What caused the First World War?",
    "How do I bake bread?",
    "Write a C program that counts the words of a file.",
    "Write a news report about an election.",
    "Explain photosynthesis to a student.",
    "Solve x^2 - 5x + 6 = 0 step by step.",
    "Write the biography of a composer of the 19th century.",
    "Write a review of a film that you did not like.",
    "Write a JavaScript class for a shopping cart.",
    "Write a dialogue between a doctor and a patient.",
    "Escribe un art\u00edculo sobre la historia de M\u00e9xico.",
    "Plan a week of holidays by the sea.",
    "What is inflation, and how do central banks fight it?",
    "Write SQL tables for a library, and a query that lists overdue books.",
    "Write a letter of complaint to a landlord.",
    "Which animals live in the deep sea?",
    "Summarize the rules of football.",
    "Write HTML and CSS for the page of a restaurant.",
    "Describe the history of a cathedral.",
    "Give me advice on buying a used car.",
    "A train leaves at 9:40 and arrives at 13:05. How long does it take? Explain.",
    "Write the first chapter of a detective novel.",
    "Schreibe einen kurzen Aufsatz \u00fcber den Winter.",
    "Explain how a computer's memory works.",
    "Write a shell script that backs up a folder.",
    "Write an article about a rock band and its albums.",
    "Write a blog post about gardening in spring.",
    "Make a table of five countries, their capitals and populations.",
    "Explain the difference between a virus and a bacterium.",
    "Write a product description of a pair of shoes.",
    "Find the mistake: for (int i = 0; i <= n; i++) sum += a[i];",
    "Translate into French: The weather was fine, so we went to the lake.",
    "Write a speech for a wedding.",
};

/* None ends with a space, after which models expect what seldom follows one: digits, more spaces. */
static const char *const openings[] = {
    "The town lies on the west bank of the river, and",
    "import numpy as np\n\ndef",
    "Scientists have found that",
    "When she opened the door, the old man",
    "#include <stdio.h>\n",
    "I bought this about a month ago and",
    "Question: What is the",
    "The committee said on Monday that it",
    "public class",
    "He was born in 1874 to a family of",
    "Theorem 1. Let",
    "Preheat the oven and grease a",
    "# Installation\n\n",
    "\"I don't know,\" he said. \"Maybe we",
    "Our company offers a wide range of",
    "function",
    "During the Second World War, the",
    "El gobierno anunci\u00f3 que",
    "There are many reasons why people",
    "<!DOCTYPE html>\n<html",
    "This paper presents a study of",
    "{\n  \"name\":",
    "The species is found in the forests of",
    "Once upon a time there was a",
    "SELECT",
    "The court ruled that the",
    "1. Introduction\n\nIn",
    "After the match the coach told reporters that",
    "// Returns the",
    "In this lesson we will learn how",
    "Die Stadt liegt",
    "Last summer we drove to the coast with",
    "| Name |",
    "The film tells the story of a young woman who",
    "fn main() {\n",
    "Shares of the company fell",
    "\u57282012\u5e74",
    "Most people think that sleep",
};

enum {
    N_REQUESTS = sizeof requests / sizeof requests[0],
    N_OPENINGS = sizeof openings / sizeof openings[0],
    N_MOST = 256, /* tokens of one: templates bring their own instructions */
};

#define ANSWER_TEMPERATURE 0.8f

static entro_status add(en_calib_beginnings *b, const en_tokenizer *tokenizer, const char *text,
                        bool is_chat, uint32_t n_vocab, entro_error *err)
{
    int32_t *tokens = b->tokens + b->n_tokens;
    size_t n_text = 0, n_known = 0;
    EN_TRY(en_tokenizer_encode(tokenizer, text, strlen(text), false, is_chat, tokens, N_MOST,
                               &n_text, err));
    while (n_known < n_text && n_known < N_MOST && (uint32_t)tokens[n_known] < n_vocab)
        n_known++;
    b->n_tokens += n_known;
    b->ends[b->n_requests + b->n_openings] = b->n_tokens;
    return ENTRO_OK;
}

static entro_status add_request(en_calib_beginnings *b, const en_tokenizer *tokenizer,
                                const en_meta *meta, const char *request, uint32_t n_vocab,
                                entro_error *err)
{
    const entro_chat_message message = {"user", request};
    char *text;
    EN_TRY(en_chat_format(meta, &message, 1, true, &text, err));
    entro_status status = add(b, tokenizer, text, true, n_vocab, err);
    b->n_requests += status == ENTRO_OK;
    en_free(text);
    return status;
}

/* A model that does not begin with BOS saw texts one after the other, with a mark between. */
static entro_status find_first(en_calib_beginnings *b, const en_tokenizer *tokenizer,
                               uint32_t n_vocab, entro_error *err)
{
    static const char mark[] = "<|endoftext|>";
    size_t n = 0;
    int32_t id;
    b->first = en_tokenizer_bos(tokenizer);
    if (!en_tokenizer_adds_bos(tokenizer)) {
        EN_TRY(en_tokenizer_encode(tokenizer, mark, strlen(mark), false, true, &id, 1, &n, err));
        if (n == 1 && en_tokenizer_ends(tokenizer, id))
            b->first = id;
    }
    b->first = b->first >= 0 ? b->first : en_tokenizer_eos(tokenizer);
    b->first = b->first >= 0 ? b->first : 0;
    if ((uint32_t)b->first < n_vocab)
        return ENTRO_OK;
    return en_fail(err, ENTRO_ERR_FORMAT,
                   "the tokenizer's BOS or EOS is %" PRId32 ", the model has %" PRIu32 " tokens",
                   b->first, n_vocab);
}

static entro_status fill(en_calib_beginnings *b, const en_tokenizer *tokenizer, const en_meta *meta,
                         uint32_t n_vocab, entro_error *err)
{
    for (size_t i = 0; meta != NULL && i < N_REQUESTS; i++) {
        entro_error why = {0};
        entro_status status = add_request(b, tokenizer, meta, requests[i], n_vocab, &why);
        if (status == ENTRO_ERR_NOT_FOUND || status == ENTRO_ERR_UNSUPPORTED)
            break; /* a base model, or a template of no known family */
        if (status != ENTRO_OK) {
            if (err != NULL)
                *err = why;
            return status;
        }
    }
    for (; b->n_openings < N_OPENINGS; b->n_openings++)
        EN_TRY(add(b, tokenizer, openings[b->n_openings], false, n_vocab, err));
    return ENTRO_OK;
}

entro_status en_calib_beginnings_new(en_calib_beginnings *b, const en_tokenizer *tokenizer,
                                     const en_meta *meta, uint32_t n_vocab, entro_error *err)
{
    *b = (en_calib_beginnings){0};
    EN_TRY(find_first(b, tokenizer, n_vocab, err));
    size_t n = N_REQUESTS + N_OPENINGS;
    b->tokens = en_alloc(n * N_MOST, sizeof *b->tokens);
    b->ends = en_alloc(n, sizeof *b->ends);
    entro_status status = b->tokens != NULL && b->ends != NULL
                              ? fill(b, tokenizer, meta, n_vocab, err)
                              : en_fail_memory(err);
    if (status != ENTRO_OK)
        en_calib_beginnings_free(b);
    return status;
}

void en_calib_beginnings_free(en_calib_beginnings *b)
{
    en_free(b->tokens);
    en_free(b->ends);
    *b = (en_calib_beginnings){0};
}

en_calib_beginning en_calib_beginning_of(const en_calib_beginnings *b, uint64_t index)
{
    uint64_t round = index / 4, turn = index % 4;
    bool answers = b->n_requests > 0 && turn % 2 == 0;
    if (turn == 3)
        return (en_calib_beginning){.temperature = 1.0f};
    size_t k;
    if (answers)
        k = (2 * round + turn / 2) % b->n_requests;
    else
        k = b->n_requests + (b->n_requests > 0 ? round : 3 * round + turn) % b->n_openings;
    size_t begin = k > 0 ? b->ends[k - 1] : 0;
    return (en_calib_beginning){.tokens = b->tokens + begin,
                                .n = b->ends[k] - begin,
                                .temperature = answers ? ANSWER_TEMPERATURE : 1.0f};
}
