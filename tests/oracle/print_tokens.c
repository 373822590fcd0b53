/*
 * print_tokens.c - the tokenizer behind a plain command, for the oracle tests.
 *
 *     print_tokens encode|encode-bos|encode-special|decode|decode-special|chat MODEL FILE
 *
 * FILE holds records: a little-endian 32-bit length, then so many bytes.  encode prints the ids of
 * each record on a line; decode takes records of 32-bit ids and chat records of zero-terminated
 * role, content, role, content ...; both write records.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/source.h"
#include "text/chat.h"
#include "text/tokenizer.h"

static void write_record(const char *p, size_t n)
{
    uint32_t length = (uint32_t)n;
    fwrite(&length, 4, 1, stdout);
    fwrite(p, 1, n, stdout);
}

static entro_status encode(const en_tokenizer *t, const char *mode, const uint8_t *p, size_t n,
                           entro_error *err)
{
    bool special = strcmp(mode, "encode-special") == 0, bos = strcmp(mode, "encode-bos") == 0;
    size_t n_max = 12 * n + 16; /* a normalizer makes 33 bytes of U+FDFA's three */
    int32_t *ids = en_alloc(n_max, sizeof *ids);
    size_t n_ids;
    if (ids == NULL)
        return en_fail_memory(err);
    entro_status status =
        en_tokenizer_encode(t, (const char *)p, n, bos, special, ids, n_max, &n_ids, err);
    for (size_t i = 0; status == ENTRO_OK && i < n_ids; i++)
        printf("%s%d", i > 0 ? " " : "", ids[i]);
    printf("\n");
    en_free(ids);
    return status;
}

static entro_status decode(const en_tokenizer *t, const char *mode, const uint8_t *p, size_t n,
                           entro_error *err)
{
    en_text_stream *stream;
    const char *text;
    char *all = NULL;
    size_t n_text, n_all = 0, cap = 0;
    EN_TRY(en_text_stream_new(&stream, t, strcmp(mode, "decode-special") == 0, err));
    for (size_t i = 0; i + 4 <= n + 4; i += 4) {
        if (i + 4 <= n)
            EN_TRY(en_text_stream_put(stream, (int32_t)en_load32(p + i), &text, &n_text, err));
        else
            EN_TRY(en_text_stream_finish(stream, &text, &n_text, err));
        if (!en_grow((void **)&all, &cap, n_all + n_text + 1, SIZE_MAX / 4, 1))
            return en_fail_memory(err);
        memcpy(all + n_all, text, n_text);
        n_all += n_text;
    }
    write_record(all, n_all);
    en_free(all);
    en_text_stream_free(stream);
    return ENTRO_OK;
}

static entro_status chat(const en_meta *meta, const char *p, size_t n, entro_error *err)
{
    entro_chat_message messages[64];
    size_t n_messages = 0;
    char *text;
    for (size_t i = 0; i < n && n_messages < 64; n_messages++) {
        messages[n_messages].role = p + i;
        i += strlen(p + i) + 1;
        messages[n_messages].content = p + i;
        i += strlen(p + i) + 1;
    }
    EN_TRY(en_chat_format(meta, messages, n_messages, true, &text, err));
    write_record(text, strlen(text));
    en_free(text);
    return ENTRO_OK;
}

static entro_status run_records(const en_tokenizer *t, const en_meta *meta, const char *mode,
                                const char *path, entro_error *err)
{
    char *data;
    size_t n_bytes;
    EN_TRY(en_file_read(&data, &n_bytes, path, (size_t)1 << 30, err));
    en_reader r = en_reader_of(data, n_bytes);
    entro_status status = ENTRO_OK;
    while (status == ENTRO_OK && en_reader_left(&r) > 0) {
        uint32_t n = en_reader_u32(&r);
        const uint8_t *p = en_reader_take(&r, n);
        if (p == NULL)
            status = en_fail(err, ENTRO_ERR_FORMAT, "%s: cut short", path);
        else if (strcmp(mode, "chat") == 0)
            status = chat(meta, (const char *)p, n, err);
        else if (strncmp(mode, "decode", 6) == 0)
            status = decode(t, mode, p, n, err);
        else
            status = encode(t, mode, p, n, err);
    }
    en_free(data);
    return status;
}

int main(int argc, char **argv)
{
    entro_error err = {0};
    en_source *source = NULL;
    en_tokenizer *t = NULL;
    if (argc != 4)
        return 2;
    entro_status status = en_source_open(&source, argv[2], &err);
    if (status == ENTRO_OK)
        status = en_tokenizer_new(&t, en_source_meta(source), &err);
    if (status == ENTRO_OK)
        status = run_records(t, en_source_meta(source), argv[1], argv[3], &err);
    if (status != ENTRO_OK)
        fprintf(stderr, "%s: %s\n", err.where, err.message);
    en_tokenizer_free(t);
    en_source_close(source);
    return status == ENTRO_OK ? 0 : 1;
}
