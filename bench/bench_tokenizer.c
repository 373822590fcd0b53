/*
 * bench_tokenizer.c - how fast a model's tokenizer loads, encodes and decodes.
 *
 *     bench_tokenizer MODEL TEXT [REPETITIONS]
 *
 * MB are 10^6 bytes of text.  One thread, its processor time (so that other work on the machine
 * matters less); the best of the repetitions counts.  The first repetition of encoding also finds
 * out which tokens are whole words: ask for 1 to see it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/source.h"
#include "text/tokenizer.h"

typedef struct bench {
    const en_meta *meta;
    en_tokenizer *t;
    char *text;
    size_t n_text;
    int32_t *ids;
    size_t n_ids;
} bench;

static entro_status load(bench *b, entro_error *err)
{
    en_tokenizer_free(b->t);
    return en_tokenizer_new(&b->t, b->meta, err);
}

static entro_status encode(bench *b, entro_error *err)
{
    return en_tokenizer_encode(b->t, b->text, b->n_text, true, false, b->ids, b->n_text + 16,
                               &b->n_ids, err);
}

static entro_status decode(bench *b, entro_error *err)
{
    en_text_stream *stream;
    const char *text;
    size_t n_text;
    entro_status status = en_text_stream_new(&stream, b->t, true, err);
    for (size_t i = 0; status == ENTRO_OK && i < b->n_ids; i++)
        status = en_text_stream_put(stream, b->ids[i], &text, &n_text, err);
    en_text_stream_free(stream);
    return status;
}

static double thread_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The best of n runs in seconds; negative on failure. */
static double best_of(int n, entro_status (*step)(bench *, entro_error *), bench *b,
                      entro_error *err)
{
    double best = 1e30;
    for (int i = 0; i < n; i++) {
        double start = thread_seconds();
        if (step(b, err) != ENTRO_OK)
            return -1;
        double seconds = thread_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    entro_error err = {0};
    en_source *source = NULL;
    bench b = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer MODEL TEXT [REPETITIONS]\n");
        return 2;
    }
    int n = argc > 3 ? atoi(argv[3]) : 5;
    if (en_source_open(&source, argv[1], &err) == ENTRO_OK &&
        en_file_read(&b.text, &b.n_text, argv[2], (size_t)1 << 30, &err) == ENTRO_OK) {
        b.meta = en_source_meta(source);
        b.ids = en_alloc(b.n_text + 16, sizeof b.ids[0]);
        size_t before = en_memory_in_use();
        double seconds = b.ids == NULL ? -1 : best_of(n, load, &b, &err);
        if (seconds >= 0)
            printf("%s: load %.1f ms, %.1f MB", en_tokenizer_kind(b.t), 1e3 * seconds,
                   1e-6 * (double)(en_memory_in_use() - before));
        if (seconds >= 0 && (seconds = best_of(n, encode, &b, &err)) >= 0)
            printf(", encode %.1f MB/s (%zu ids)", 1e-6 * (double)b.n_text / seconds, b.n_ids);
        if (seconds >= 0 && (seconds = best_of(n, decode, &b, &err)) >= 0)
            printf(", decode %.1f MB/s\n", 1e-6 * (double)b.n_text / seconds);
    }
    if (err.status != ENTRO_OK)
        fprintf(stderr, "error: %s: %s\n", err.where, err.message);
    en_tokenizer_free(b.t);
    en_free(b.ids);
    en_free(b.text);
    en_source_close(source);
    return err.status == ENTRO_OK ? 0 : 1;
}
