/* test_job.c - failures of threads, progress and cancelling. */
#include "base/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_support.h"

typedef struct calls {
    int n;
    int cancel_at; /* number of the call that returns false */
    uint64_t last_done;
} calls;

static bool count_call(void *user, const entro_progress *p)
{
    calls *c = user;
    assert_string_equal(p->stage, "encode");
    assert_string_equal(p->unit, "B");
    assert_true(p->done >= c->last_done && p->done <= p->total);
    c->last_done = p->done;
    return ++c->n != c->cancel_at;
}

static void calls_back_at_start_and_end(void **state)
{
    (void)state;
    calls c = {0};
    en_job job;
    assert_int_equal(en_job_open(&job, 1, count_call, &c, NULL), ENTRO_OK);
    en_job_stage(&job, "encode", 1000);
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(en_job_reach(&job, "x", i, NULL), ENTRO_OK);
    assert_true(c.n >= 2 && c.n < 100); /* ten a second, however fast it goes */
    assert_int_equal(c.last_done, 1000);
    en_job_close(&job);
}

static void callback_cancels(void **state)
{
    (void)state;
    calls c = {.cancel_at = 1};
    en_job job;
    entro_error err;
    assert_int_equal(en_job_open(&job, 2, count_call, &c, NULL), ENTRO_OK);
    en_job_stage(&job, "encode", 10);
    assert_int_equal(en_job_reach(&job, NULL, 1, &err), ENTRO_ERR_CANCELLED);
    en_job_close(&job);
}

static bool note_call(void *user, const entro_progress *p)
{
    char(*notes)[400] = user;
    snprintf(*notes, sizeof *notes, "%s %d %d", p->note != NULL ? p->note : "none", (int)p->done,
             (int)p->resumed);
    return true;
}

static void a_stage_goes_on_with_what_was_done(void **state)
{
    (void)state;
    char note[400] = "";
    en_job job;
    assert_int_equal(en_job_open(&job, 1, note_call, &note, NULL), ENTRO_OK);
    en_job_note(&job, "a file is %s", "damaged");
    en_job_stage(&job, "encode", 10);
    en_job_resume(&job, 4);
    en_job_note(&job, "goes on at %d", 4);
    assert_int_equal(en_job_reach(&job, NULL, 5, NULL), ENTRO_OK);
    assert_string_equal(note, "a file is damaged; goes on at 4 5 4");
    assert_int_equal(en_job_reach(&job, NULL, 10, NULL), ENTRO_OK); /* notes are told once */
    assert_string_equal(note, "none 10 4");
    en_job_stage(&job, "verify", 10);
    assert_int_equal(en_job_reach(&job, NULL, 1, NULL), ENTRO_OK);
    assert_string_equal(note, "none 1 0");
    en_job_stage(&job, "encode", 10);
    for (int i = 0; i < 100; i++)
        en_job_note(&job, "%d and many more that there is no room for", i);
    assert_int_equal(en_job_reach(&job, NULL, 1, NULL), ENTRO_OK);
    assert_non_null(strstr(note, "0 and many"));
    assert_true(strlen(note) < sizeof job.note + 10);
    en_job_close(&job);
}

static double save_seconds_of(const char *value)
{
    en_job job;
    assert_int_equal(setenv("ENTRO_SAVE_SECONDS", value, 1), 0);
    assert_int_equal(en_job_open(&job, 1, NULL, NULL, NULL), ENTRO_OK);
    double seconds = job.save_seconds;
    en_job_close(&job);
    unsetenv("ENTRO_SAVE_SECONDS");
    return seconds;
}

static void saving_is_due_from_time_to_time(void **state)
{
    (void)state;
    en_job job;
    unsetenv("ENTRO_SAVE_SECONDS");
    assert_int_equal(en_job_open(&job, 1, NULL, NULL, NULL), ENTRO_OK);
    assert_true(job.save_seconds == EN_JOB_SAVE_SECONDS);
    en_job_stage(&job, "encode", 10);
    assert_false(en_job_save_is_due(&job));
    job.last_save -= EN_JOB_SAVE_SECONDS;
    assert_true(en_job_save_is_due(&job));
    en_job_saved(&job);
    assert_false(en_job_save_is_due(&job));
    job.save_seconds = 0;
    assert_true(en_job_save_is_due(&job));
    en_job_close(&job);
    assert_true(save_seconds_of("0") == 0 && save_seconds_of("2.5") == 2.5);
    static const char *const bad[] = {"", "-1", "soon", "3s", "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(save_seconds_of(bad[i]) == EN_JOB_SAVE_SECONDS);
}

typedef struct items {
    _Atomic uint32_t n_run, sum;
    uint32_t fail_at;
} items;

static entro_status run_item(void *context, uint32_t item, uint32_t thread, entro_error *err)
{
    items *x = context;
    assert_true(thread < 3);
    atomic_fetch_add(&x->n_run, 1);
    atomic_fetch_add(&x->sum, item);
    if (item == x->fail_at)
        return en_fail(err, ENTRO_ERR_FORMAT, "item %u", item);
    return ENTRO_OK;
}

static void runs_each_item_once(void **state)
{
    (void)state;
    en_job job;
    items x = {.fail_at = UINT32_MAX};
    assert_int_equal(en_job_open(&job, 3, NULL, NULL, NULL), ENTRO_OK);
    assert_int_equal(en_job_run(&job, run_item, &x, 10, 100, NULL), ENTRO_OK);
    assert_int_equal(x.n_run, 100);
    assert_int_equal(x.sum, 100 * 10 + 99 * 100 / 2);
    assert_int_equal(en_job_reach(&job, NULL, 5, NULL), ENTRO_OK); /* no callback: fine */
    en_job_close(&job);
}

static void one_failure_stops_the_run(void **state)
{
    (void)state;
    en_job job;
    entro_error err;
    assert_int_equal(en_job_open(&job, 3, NULL, NULL, NULL), ENTRO_OK);
    items x = {.fail_at = 5};
    assert_int_equal(en_job_run(&job, run_item, &x, 0, 1000000, &err), ENTRO_ERR_FORMAT);
    assert_string_equal(err.message, "item 5");
    assert_true(x.n_run < 1000000);
    items again = {.fail_at = UINT32_MAX}; /* and is forgotten in the next */
    assert_int_equal(en_job_run(&job, run_item, &again, 0, 10, NULL), ENTRO_OK);
    assert_int_equal(again.n_run, 10);
    en_job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_back_at_start_and_end),
        cmocka_unit_test(callback_cancels),
        cmocka_unit_test(a_stage_goes_on_with_what_was_done),
        cmocka_unit_test(saving_is_due_from_time_to_time),
        cmocka_unit_test(runs_each_item_once),
        cmocka_unit_test(one_failure_stops_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
