// SPDX-License-Identifier: GPL-2.0
/*
 * zcipc-demo: hands a file from one process to another, with zcipc and with what the kernel has
 * without it, and shows what each costs and that the contents arrive.
 */

#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base.h"
#include "mechanism.h"
#include "run.h"

/* The pipe is first because the others are compared with it. */
static const struct mechanism * const mechanisms[] = {
	&mech_pipe, &mech_readv, &mech_memfd, &mech_copy, &mech_share, &mech_move,
};

#define N_MECHANISMS	(sizeof(mechanisms) / sizeof(*mechanisms))
#define MAX_SIZES	16

struct options {
	const char *path;
	size_t sizes[MAX_SIZES];
	unsigned int nsizes;
	bool wanted[N_MECHANISMS];
	__u64 limit;
};

static const char usage_text[] =
	"usage: zcipc-demo [OPTION]... FILE\n"
	"\n"
	"Hands FILE from a producer to a consumer process in messages, and compares the ways to do it.\n"
	"\n"
	"  --size LIST    message sizes (64K,1M,16M)\n"
	"  --only LIST    of pipe,readv,memfd,copy,share,move\n"
	"  --limit BYTES  only this much of FILE\n"
	"  --help         this text\n"
	"\n"
	"Numbers may end in K, M or G. The status is 0 when everything arrived intact and zcipc handed\n"
	"it over without a copy and a page fault, 1 when not, 2 for bad usage.\n";

static const char legend[] =
	"time: median, from the start of the sending until the receiver has looked at every page\n"
	"copied: bytes, by the kernel, to hand the file over; by writes: later, as the sender overwrote it\n"
	"faults: the receiver's, in that time; SHA-256: of what the receiver has in the end\n";

#define bad_usage(format, ...) do {						\
	warn(format " (see zcipc-demo --help)", ##__VA_ARGS__);			\
	exit(2);								\
} while (0)

/* Returns 0 for what is no number, or not a positive one. */
static __u64 parse_bytes(const char *text)
{
	static const char units[] = "KMG";
	unsigned long long n;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return 0;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		unsigned int shift = 10 * (unit - units + 1);

		if (n << shift >> shift != n)
			return 0;
		n <<= shift;
		end++;
	}
	return *end ? 0 : n;
}

static void parse_sizes(struct options *options, char *list)
{
	char *item;

	options->nsizes = 0;
	while ((item = strsep(&list, ","))) {
		__u64 size = parse_bytes(item);

		if (!size || size % page_size() || size > 1 << 30)
			bad_usage("'%s' is no message size: a multiple of %zu, up to 1G", item,
				  page_size());
		if (options->nsizes == MAX_SIZES)
			bad_usage("more than %d message sizes", MAX_SIZES);
		options->sizes[options->nsizes++] = size;
	}
}

static void parse_mechanisms(struct options *options, char *list)
{
	unsigned int i;
	char *item;

	memset(options->wanted, 0, sizeof(options->wanted));
	while ((item = strsep(&list, ","))) {
		for (i = 0; i < N_MECHANISMS && strcmp(item, mechanisms[i]->key); i++)
			;
		if (i == N_MECHANISMS)
			bad_usage("'%s' is no mechanism: pipe, readv, memfd, copy, share, move",
				  item);
		options->wanted[i] = true;
	}
}

static void parse_options(struct options *options, int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "size",  required_argument, NULL, 's' },
		{ "only",  required_argument, NULL, 'o' },
		{ "limit", required_argument, NULL, 'l' },
		{ "help",  no_argument,       NULL, 'h' },
		{ }
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longopts, NULL)) != -1) {
		switch (c) {
		case 's':
			parse_sizes(options, optarg);
			break;
		case 'o':
			parse_mechanisms(options, optarg);
			break;
		case 'l':
			options->limit = parse_bytes(optarg);
			if (!options->limit)
				bad_usage("'%s' is no number of bytes", optarg);
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		case ':':
			bad_usage("%s needs a value", argv[optind - 1]);
		default:
			bad_usage("no such option: %s", argv[optind - 1]);
		}
	}
	if (optind + 1 != argc)
		bad_usage("%s file is named", optind == argc ? "no" : "more than one");
	options->path = argv[optind];
}

static const void *open_file(const struct options *options, size_t *len)
{
	int fd = open(options->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *file;

	if (fd < 0 || fstat(fd, &st))
		die_errno("%s", options->path);
	if (!S_ISREG(st.st_mode) || !st.st_size)
		die("%s: not a file with something in it", options->path);
	*len = st.st_size;
	if (options->limit && options->limit < *len)
		*len = options->limit;
	file = mmap(NULL, *len, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die_errno("mmap of %s", options->path);
	close(fd);
	return file;
}

static void print_intro(const struct options *options, size_t len, const unsigned char *digest)
{
	struct utsname uts;
	char buf[HUMAN_LEN];
	int i;

	uname(&uts);
	printf("%s (%s), Linux %s, %ld CPUs\nSHA-256 ", options->path, human(buf, len), uts.release,
	       sysconf(_SC_NPROCESSORS_ONLN));
	for (i = 0; i < SHA256_LEN; i++)
		printf("%02x", digest[i]);
	printf("\n\n%-16s  %8s  %8s  %12s  %8s  %9s  %9s  %7s  %s\n", "mechanism", "message",
	       "messages", "time/message", "vs. pipe", "copied", "by writes", "faults", "SHA-256");
	fflush(stdout);
}

static void print_row(const struct run *run, const struct result *result, __u64 pipe_ns, bool ok)
{
	char size[HUMAN_LEN], copied[HUMAN_LEN], copied_write[HUMAN_LEN], ratio[HUMAN_LEN] = "-";

	if (pipe_ns)
		snprintf(ratio, sizeof(ratio), "%.1fx", (double)pipe_ns / result->ns);
	printf("%-16s  %8s  %8llu  %9.1f us  %8s  %9s  %9s  %7llu  %s\n", run->mech->name,
	       human(size, run->size), (unsigned long long)result->messages,
	       result->ns / 1e3, ratio, human(copied, result->copied),
	       human(copied_write, result->copied_write), (unsigned long long)result->faults,
	       ok ? "ok" : "WRONG");
	fflush(stdout);
}

/* What must be right whatever the machine; returns whether it is. */
static bool check(const struct run *run, const struct result *result, bool digest_ok)
{
	__u64 copied_write = run->mech->copies_write ? page_align(run->len) : 0;
	const char *name = run->mech->name;
	char size[HUMAN_LEN];
	bool ok = digest_ok;

	human(size, run->size);
	if (!digest_ok)
		warn("%s, %s: the consumer did not receive what the file contains", name, size);
	if (!run->mech->zero)
		return ok;
	if (result->copied) {
		warn("%s, %s: the hand-over copied %llu bytes", name, size,
		     (unsigned long long)result->copied);
		ok = false;
	}
	/* Large snapshots are mapped by faults, each of which brings many pages. */
	if (result->faults > copied_write / (64 * 4096)) {
		warn("%s, %s: the receiver had %llu page faults", name, size,
		     (unsigned long long)result->faults);
		ok = false;
	}
	if (result->copied_write != copied_write) {
		warn("%s, %s: later writes copied %llu bytes, not %llu", name, size,
		     (unsigned long long)result->copied_write, (unsigned long long)copied_write);
		ok = false;
	}
	return ok;
}

int main(int argc, char **argv)
{
	struct options options = { .sizes = { 64 << 10, 1 << 20, 16 << 20 }, .nsizes = 3 };
	unsigned char digest[SHA256_LEN];
	unsigned int i, j, nwanted = 0;
	struct run run = { 0 };
	bool ok = true;

	if (isatty(STDERR_FILENO))
		clear_line = "\r\033[K";
	memset(options.wanted, true, sizeof(options.wanted));
	parse_options(&options, argc, argv);
	for (i = 0; i < N_MECHANISMS; i++)
		nwanted += options.wanted[i];
	run.nruns = options.nsizes * nwanted;
	run.file = open_file(&options, &run.len);
	sha256(run.file, run.len, digest);
	print_intro(&options, run.len, digest);

	for (j = 0; j < options.nsizes; j++) {
		__u64 pipe_ns = 0;

		run.size = options.sizes[j];
		for (i = 0; i < N_MECHANISMS; i++) {
			struct result result;
			bool digest_ok;

			if (!options.wanted[i])
				continue;
			run.mech = mechanisms[i];
			if (!run_once(&run, &result))
				return 1;
			run.nth++;
			if (run.mech == &mech_pipe)
				pipe_ns = result.ns;
			digest_ok = !memcmp(result.digest, digest, sizeof(digest));
			fputs(clear_line, stderr);
			print_row(&run, &result, pipe_ns, digest_ok);
			ok &= check(&run, &result, digest_ok);
		}
		putchar('\n');
	}
	fputs(legend, stdout);
	return !ok;
}
