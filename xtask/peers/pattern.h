/*
 * Payload of which every byte depends on its sender, its number and its place: a buffer with the content of an
 * earlier frame, or with pieces in another order, does not pass for it.
 */
#include <stdint.h>
#include <string.h>

static uint64_t pattern_of(unsigned from, uint32_t number)
{
	return (((uint64_t)number << 8 | from) + 1) * 0x9e3779b97f4a7c15u;
}

static uint64_t pattern_word(uint64_t pattern, unsigned k) { return pattern + k * 0xd1342543de82ef95u; }

static uint8_t pattern_byte(uint64_t pattern, unsigned at)
{
	return pattern_word(pattern, at / 8) >> at % 8 * 8;
}

/* Writes the bytes `at` and following of a frame's payload. */
static void fill(uint8_t *p, unsigned len, unsigned at, uint64_t pattern)
{
	unsigned i = 0;

	for (; i < len && (at + i) % 8; i++)
		p[i] = pattern_byte(pattern, at + i);
	for (; i + 8 <= len; i += 8) {
		uint64_t word = pattern_word(pattern, (at + i) / 8);
		memcpy(p + i, &word, 8);
	}
	for (; i < len; i++)
		p[i] = pattern_byte(pattern, at + i);
}

/* Whether they are what `fill` wrote. */
static int intact(const uint8_t *p, unsigned len, unsigned at, uint64_t pattern)
{
	uint64_t differ = 0;
	unsigned i = 0;

	for (; i < len && (at + i) % 8; i++)
		differ |= p[i] ^ pattern_byte(pattern, at + i);
	for (; i + 8 <= len; i += 8) {
		uint64_t word;
		memcpy(&word, p + i, 8);
		differ |= word ^ pattern_word(pattern, (at + i) / 8);
	}
	for (; i < len; i++)
		differ |= p[i] ^ pattern_byte(pattern, at + i);
	return !differ;
}
