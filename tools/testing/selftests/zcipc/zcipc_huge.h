/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of 2 MiB frames begin with: two of these and some pages, made or imported.
 */
#ifndef __SELFTEST_ZCIPC_HUGE_H
#define __SELFTEST_ZCIPC_HUGE_H

#include "zcipc_utils.h"
#include "lib/pmds.h"

#define BLOCK ((size_t)HUGE_PAGES)
/* Two 2 MiB frames, and some pages. */
#define N (2 * BLOCK + 16)
/* So many pages of a frame are copied back at the most. */
#define MEND 16UL
/* Whoever writes all the time lets others run after so many writes. */
#define YIELD 16
/* Room for some of those, at multiples of 2 MiB. */
#define HUGE_WINDOW (16 * BLOCK)

FIXTURE(huge)
{
	struct base base;
	struct ep a, b;
	struct buf src;
};

FIXTURE_VARIANT(huge)
{
	bool remote;
};

FIXTURE_VARIANT_ADD(huge, thread) { .remote = false };
FIXTURE_VARIANT_ADD(huge, process) { .remote = true };

FIXTURE_SETUP(huge)
{
	base_setup(_metadata, &self->base);
	huge_set(NULL);
	need_huge();
	test_open(&self->a, HUGE_WINDOW, O_NONBLOCK);
	test_start(&self->b, variant->remote, HUGE_WINDOW);
	test_create_flags(&self->a, N, ZCIPC_CREATE_NO_HUGE, &self->src);
	test_drop(&self->a, self->src.cap);
	test_create(&self->a, N, &self->src);
	/* It is a new machine, with memory to spare. */
	ASSERT_EQ(2 * BLOCK, self->src.huge);
	test_fill(&self->a, self->src.p, N, 1);
}

FIXTURE_TEARDOWN_BASE(huge)

/* What 2 MiB frames have in common with imported 2 MiB pages. */
FIXTURE(blocks)
{
	struct base base;
	struct ep a, b;
	struct buf src;
	long npmds;		/* by how many PMDs two blocks are mapped in a window */
	long own_npmds;		/* where they were made: of adopted memory nobody can see it */
	char *memory;
	char *windows[2];	/* of this process, for what nobody can hold */
};

FIXTURE_VARIANT(blocks)
{
	bool remote;
	bool imported;
	bool unpinnable;	/* there are windows for what cannot be held */
};

FIXTURE_VARIANT_ADD(blocks, thread) { .remote = false };
FIXTURE_VARIANT_ADD(blocks, process) { .remote = true };
FIXTURE_VARIANT_ADD(blocks, imported_thread) { .remote = false, .imported = true };
FIXTURE_VARIANT_ADD(blocks, imported_process) { .remote = true, .imported = true };
FIXTURE_VARIANT_ADD(blocks, unpinnable_thread)
{
	.remote = false, .imported = true, .unpinnable = true,
};

FIXTURE_VARIANT_ADD(blocks, unpinnable_process)
{
	.remote = true, .imported = true, .unpinnable = true,
};

#define MEMORY (4 * BLOCK * psize)

/* Memory in which 2 MiB pages are. */
static char *blocks_memory(char **memory)
{
	char *p;

	*memory = anonymous(MEMORY / psize);
	p = (char *)(((uintptr_t)*memory + BLOCK * psize - 1) & ~(BLOCK * psize - 1));
	/* Not behind them: what is imported in part only is copied. */
	madvise(*memory, MEMORY, MADV_NOHUGEPAGE);
	madvise(p, 2 * BLOCK * psize, MADV_HUGEPAGE);
	return p;
}

/* Is imported memory mapped by PMDs? */
static bool imports_by_pmds(void)
{
	return has_feature(ZCIPC_FEATURE_HUGE_IMPORT);
}

FIXTURE_SETUP(blocks)
{
	base_setup(_metadata, &self->base);
	huge_set(NULL);
	need_huge();
	test_open(&self->a, HUGE_WINDOW, O_NONBLOCK);
	test_start(&self->b, variant->remote, HUGE_WINDOW);
	if (variant->imported) {
		char *p = blocks_memory(&self->memory);

		test_fill(&self->a, p, N, 1);
		ASSERT_EQ(2, pmd_mapped(getpid(), p) / 2048);
		test_import(&self->a, p, N, &self->src);
		self->npmds = imports_by_pmds() ? 2 : 0;
		if (variant->unpinnable) {
			if (access(PMDS, F_OK))
				SKIP(return, "the module is built without test_pmds");
			TEST_OK(ep_map_unpinnable(&self->a, &self->windows[0]));
			TEST_OK(ep_map_unpinnable(&self->b, &self->windows[1]));
			self->npmds = 2;
			self->own_npmds = 2;
			/* Where a GiB has no tables yet, a fault makes the PMD. */
			test_check(&self->a, p, N, 1);
		}
	} else {
		test_create(&self->a, N, &self->src);
		ASSERT_EQ(2 * BLOCK, self->src.huge);
		test_fill(&self->a, self->src.p, N, 1);
		self->npmds = 2;
		self->own_npmds = 2;
	}
}

/* By how many PMDs is so much mapped? */
#define blocks_pmds(ep, p, npages)					\
	(variant->unpinnable ? ep_hidden_pmds(ep, p, npages) : ep_pmds(ep, p))

FIXTURE_TEARDOWN(blocks)
{
	int i;

	if (self->memory)
		munmap(self->memory, MEMORY);
	for (i = 0; i < 2; i++)
		if (self->windows[i])
			munmap(self->windows[i], HUGE_WINDOW * psize);
	base_teardown(_metadata, &self->base);
}

#endif
