// SPDX-License-Identifier: GPL-2.0
/*
 * Whether the guest is idle.
 */
#include "clock.h"

double settle(void)
{
	const long n = 10 * 1000 * 1000;
	double per_insn = 0;
	int tries;

	for (tries = 0; tries < 300; tries++) {
		long left = n;
		long long start = now();

		/* Two instructions each time, on any machine. */
		do
			__asm__ volatile("" : "+r" (left));
		while (--left);
		per_insn = (now() - start) / (2.0 * n);
		if (per_insn > 0.99 && per_insn < 1.01)
			break;
	}
	return per_insn;
}
