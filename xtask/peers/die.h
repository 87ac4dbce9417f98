/*
 * The end of a program that cannot go on.
 */
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	exit(1);
}
