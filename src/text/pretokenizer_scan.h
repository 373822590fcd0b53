/*
 * pretokenizer_scan.h - the scanners behind the table in pretokenizer.c.
 *
 * Each returns the length (at least 1) of the first word of n >= 1 bytes.
 */
#ifndef EN_TEXT_PRETOKENIZER_SCAN_H
#define EN_TEXT_PRETOKENIZER_SCAN_H

#include <stddef.h>

/* GPT-2:  's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t en_scan_gpt2(const char *p, size_t n, unsigned max_numbers);

/* The same after every digit was cut out as a word of its own (SmolLM, StarCoder, Command R). */
size_t en_scan_gpt2_digits(const char *p, size_t n, unsigned max_numbers);

/* cl100k, Llama 3, Qwen2:  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max}|
 *  ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t en_scan_cl100k(const char *p, size_t n, unsigned max_numbers);

/* o200k (GPT-4o, Phi-4-mini): as cl100k, but words are split where case says so and contractions
 * belong to their word; symbols may be followed by slashes too. */
size_t en_scan_o200k(const char *p, size_t n, unsigned max_numbers);

/* Tekken (Mistral Nemo): o200k without contractions. */
size_t en_scan_tekken(const char *p, size_t n, unsigned max_numbers);

/* llama.cpp's rule for files that name none: runs of punctuation, then GPT-2, then digits by three. */
size_t en_scan_default(const char *p, size_t n, unsigned max_numbers);

#endif
