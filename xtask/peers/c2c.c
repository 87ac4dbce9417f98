/*
 * c2c CPU CPU: how long a cache line takes from one core to the other, in nanoseconds one way.
 *
 * The median of many short bursts of bounces: a burst during which a thread was preempted says nothing about
 * caches, and the mean of all makes near CPUs look far as soon as the machine has other work.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BURSTS 401
#define BOUNCES 500

static _Alignas(128) _Atomic int ball;

static int pin(int cpu)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	return pthread_setaffinity_np(pthread_self(), sizeof only, &only);
}

static void *return_balls(void *nothing)
{
	for (int i = 0; i < BURSTS * BOUNCES; i++) {
		while (!atomic_load_explicit(&ball, memory_order_acquire))
			;
		atomic_store_explicit(&ball, 0, memory_order_release);
	}
	return nothing;
}

static void bounce(void)
{
	atomic_store_explicit(&ball, 1, memory_order_release);
	while (atomic_load_explicit(&ball, memory_order_acquire))
		;
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A new thread has the affinity of the one that makes it. */
static int start(pthread_t *other, int here, int there)
{
	return pin(there) || pthread_create(other, 0, return_balls, 0) || pin(here);
}

int main(int argc, char **argv)
{
	static double ns[BURSTS];
	pthread_t other;

	if (argc != 3)
		return fprintf(stderr, "usage: c2c CPU CPU\n"), 2;
	if (start(&other, atoi(argv[1]), atoi(argv[2])))
		return fprintf(stderr, "c2c: cannot run on CPU %s and CPU %s\n", argv[1], argv[2]), 1;
	for (int burst = 0; burst < BURSTS; burst++) {
		double began = now_ns();
		for (int i = 0; i < BOUNCES; i++)
			bounce();
		ns[burst] = (now_ns() - began) / BOUNCES / 2;
	}
	pthread_join(other, 0);
	qsort(ns, BURSTS, sizeof *ns, compare);
	printf("%.1f\n", ns[BURSTS / 2]);
	return 0;
}
