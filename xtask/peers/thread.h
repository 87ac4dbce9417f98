/*
 * What the kernel knows of the thread that measures.
 */
#include <stdio.h>
#include <sys/resource.h>

/* Seconds that this thread could have run but did not. */
static double waited_for_cpu(void)
{
	unsigned long long ran, waited = 0;
	FILE *file = fopen("/proc/thread-self/schedstat", "r");

	if (file && fscanf(file, "%llu %llu", &ran, &waited) != 2)
		waited = 0;
	if (file)
		fclose(file);
	return waited / 1e9;
}

static double kernel_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}
