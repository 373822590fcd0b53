/*
 * session_support.h - models and sessions that must open.
 */
#ifndef EN_TESTS_SESSION_SUPPORT_H
#define EN_TESTS_SESSION_SUPPORT_H

#include <stdio.h>

#include "base/file.h"
#include "engine/engine.h"
#include "test_support.h"

static inline entro_model *test_open_model(const char *path)
{
    entro_model *model = NULL;
    entro_error err = {0};
    if (en_model_open(&model, path, NULL, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return model;
}

/* One of fixtures/models. */
static inline entro_model *test_open_fixture(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TEST_FIXTURES "/models/%s", name);
    return test_open_model(path);
}

/* One that is not in the tree: without it the test is skipped. */
static inline entro_model *test_open_shared(const char *path)
{
    if (!en_path_exists(path))
        skip();
    return test_open_model(path);
}

static inline entro_session *test_open_session(const entro_model *model, uint32_t n_ctx,
                                               uint32_t n_threads, uint32_t n_batch)
{
    entro_session_options opt = {
        .struct_size = sizeof opt, .n_ctx = n_ctx, .n_threads = n_threads, .n_batch = n_batch};
    entro_session *s = NULL;
    entro_error err = {0};
    if (en_session_open(&s, model, &opt, &err) != ENTRO_OK)
        fail_msg("%s: %s", err.where, err.message);
    return s;
}

#endif
