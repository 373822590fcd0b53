/* test_pool.c - every item once, jobs in sequence, any number of threads. */
#include "base/pool.h"

#include <stdatomic.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "test_support.h"

enum { N_ITEMS = 1000 };

struct job {
    _Atomic uint32_t hits[N_ITEMS];
    _Atomic uint32_t worst_thread;
};

static void hit(void *context, uint32_t item, uint32_t thread)
{
    struct job *job = context;
    atomic_fetch_add(&job->hits[item], 1);
    uint32_t worst = atomic_load(&job->worst_thread);
    while (thread > worst && !atomic_compare_exchange_weak(&job->worst_thread, &worst, thread))
        ;
}

static void each_item_runs_once(void **state)
{
    (void)state;
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        en_pool *pool;
        struct job job = {0};
        assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
        assert_int_equal(en_pool_n_threads(pool), n_threads);
        for (int round = 0; round < 200; round++)
            en_pool_run(pool, hit, &job, round % 3 == 0 ? N_ITEMS : (uint32_t)(round % 3));
        for (int i = 2; i < N_ITEMS; i++)
            assert_int_equal(job.hits[i], 67);
        assert_int_equal(job.hits[0], 67 + 67 + 66);
        assert_true(job.worst_thread < n_threads);
        en_pool_free(pool);
    }
}

/* Whoever has item 0 waits for all others, those dealt to the same thread too. */
static void wait_for_others(void *context, uint32_t item, uint32_t thread)
{
    struct job *job = context;
    double until = en_clock_seconds() + 60;
    hit(context, item, thread);
    for (int i = 1; item == 0 && i < N_ITEMS; i++)
        while (atomic_load(&job->hits[i]) == 0 && en_clock_seconds() < until)
            ;
}

static void a_late_threads_items_are_taken_over(void **state)
{
    (void)state;
    for (uint32_t n_threads = 2; n_threads <= 4; n_threads++) {
        en_pool *pool;
        struct job job = {0};
        assert_int_equal(en_pool_new(&pool, n_threads, NULL), ENTRO_OK);
        double start = en_clock_seconds();
        en_pool_run(pool, wait_for_others, &job, N_ITEMS);
        assert_true(en_clock_seconds() < start + 30);
        for (int i = 0; i < N_ITEMS; i++)
            assert_int_equal(job.hits[i], 1);
        en_pool_free(pool);
    }
}

static void sleeping_threads_wake_up(void **state)
{
    (void)state;
    en_pool *pool;
    struct job job = {0};
    assert_int_equal(en_pool_new(&pool, 3, NULL), ENTRO_OK);
    for (int round = 0; round < 3; round++) {
        double until = en_clock_seconds() + 0.02; /* longer than anybody spins */
        while (en_clock_seconds() < until)
            ;
        en_pool_run(pool, hit, &job, N_ITEMS);
    }
    for (int i = 0; i < N_ITEMS; i++)
        assert_int_equal(job.hits[i], 3);
    en_pool_free(pool);
}

static void counts_are_checked(void **state)
{
    (void)state;
    en_pool *pool;
    assert_int_equal(en_pool_new(&pool, 100000, NULL), ENTRO_ERR_ARGUMENT);
    assert_int_equal(en_pool_new(&pool, 0, NULL), ENTRO_OK);
    assert_int_equal(en_pool_n_threads(pool), en_cpu_count());
    en_pool_run(pool, hit, NULL, 0);
    en_pool_free(pool);
    en_pool_free(NULL);
}

static void reader_latches_its_first_failure(void **state)
{
    (void)state;
    const uint8_t data[] = {1, 2, 0, 3, 0, 0, 0, 9};
    en_reader r = en_reader_of(data, sizeof data);
    assert_int_equal(en_reader_u8(&r), 1);
    assert_int_equal(en_reader_u16(&r), 2);
    assert_int_equal(en_reader_u32(&r), 3);
    assert_int_equal(en_reader_left(&r), 1);
    assert_int_equal(en_reader_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(en_reader_u8(&r), 0);
    assert_null(en_reader_take(&r, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_runs_once),
        cmocka_unit_test(a_late_threads_items_are_taken_over),
        cmocka_unit_test(sleeping_threads_wake_up),
        cmocka_unit_test(counts_are_checked),
        cmocka_unit_test(reader_latches_its_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
