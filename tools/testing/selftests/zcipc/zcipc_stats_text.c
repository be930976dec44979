// SPDX-License-Identifier: GPL-2.0-only
/*
 * Statistics as text: fdinfo, debugfs, tracepoints. They tell the same as the calls, and nothing to
 * whom it does not concern.
 *
 * Guarantees: G7 (no addresses, nothing for other users).
 */
#include <dirent.h>
#include <grp.h>
#include <regex.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "zcipc_stats.h"

/* --- text */

/* All of a file; whoever calls frees it. */
static char *file_text(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0, size = 1 << 22;
	char *text = malloc(size);
	ssize_t n;

	if (fd < 0)
		goto err;
	while ((n = read(fd, text + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	if (n < 0)
		goto err;
	text[len] = 0;
	return text;
err:
	free(text);
	return NULL;
}

/* How many lines there are of this kind. */
static unsigned int lines(const char *text, const char *line)
{
	size_t len = strlen(line);
	unsigned int n = 0;

	for (; text; text = strchr(text, '\n'), text = text ? text + 1 : NULL)
		n += !strncmp(text, line, len) && (text[len] == '\n' || !text[len]);
	return n;
}

/* The value of a line "zcipc-NAME:\tVALUE", ~0: there is none. */
static __u64 text_number(const char *text, const char *name)
{
	char key[64];
	size_t len = snprintf(key, sizeof(key), "zcipc-%s:\t", name);

	for (; text; text = strchr(text, '\n'), text = text ? text + 1 : NULL)
		if (!strncmp(text, key, len))
			return strtoull(text + len, NULL, 10);
	return ~0ULL;
}

/* Anything that looks like one of the kernel's own addresses? */
static bool has_address(const char *text)
{
	regex_t re;
	bool found;

	if (regcomp(&re, "ffff[0-9a-f]{12}", REG_EXTENDED | REG_ICASE | REG_NOSUB))
		return true;
	found = !regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	return found;
}

/* fdinfo of the one endpoint that a process has. */
static char *endpoint_fdinfo(const struct ep *ep)
{
	char path[64], *text = NULL;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", ep->pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		text = file_text(dirfd(dir), d->d_name);
		if (text && text_number(text, "endpoint") == ep->id)
			break;
		free(text);
		text = NULL;
	}
	if (dir)
		closedir(dir);
	return text;
}

static void same_as_text(struct __test_metadata *_metadata, const struct zcipc_stats *stats,
			 const char *text, bool endpoint)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		/* An endpoint's begin with what it has. */
		if (!counters[i].text ||
		    (endpoint && counters[i].offset < offsetof(struct zcipc_stats, caps)))
			continue;
		EXPECT_EQ(counter(stats, &counters[i]), text_number(text, counters[i].text))
			TH_LOG("%s", counters[i].name);
	}
	EXPECT_EQ(stats->remap_cycles, text_number(text, "remap-cycles"));
}

/* Something of everything. */
static void busy(struct __test_metadata *_metadata, FIXTURE_DATA(stats) *self)
{
	struct buf src, dst;
	__u64 token;

	test_create(&self->a, N, &src);
	test_pass(&self->a, &self->b, ZCIPC_COPY, src.cap, &dst);
	test_touch_write(0, &self->a, src.p);
	test_touch_write(0, &self->b, dst.p);
	test_send(&self->a, &self->b, ZCIPC_SHARE, src.cap);
	TEST_OK(give(&self->a, &self->b, src.cap, RIGHTS_RW, &token));
	TEST_OK(take_back(&self->a, &self->b, token));
	test_err_send(ENOENT, &self->a, &self->b, ZCIPC_MOVE, 12345);
	test_err_send(EBUSY, &self->a, &self->b, ZCIPC_MOVE, src.cap);
}

/* One's own, and as root another process's. */
TEST_F(stats, fdinfo)
{
	struct zcipc_endpoint_config odd = { .flags = ZCIPC_CONFIG_NAME,
					     .name = "odd\nzcipc-dead:\t1\x01\x1b" };
	struct zcipc_stats stats;
	char line[64], *text;
	int i;

	busy(_metadata, self);
	TEST_OK(set_up(&self->a, odd));
	for (i = 0; i < 2; i++) {
		struct ep *ep = i ? &self->b : &self->a;

		TEST_OK(zc_stats_of(ep, ZCIPC_STATS_ENDPOINT, 0, &stats));
		text = endpoint_fdinfo(ep);
		ASSERT_NE(NULL, text);
		same_as_text(_metadata, &stats, text, true);
		snprintf(line, sizeof(line), "zcipc-name:\t%s",
			 i ? "" : "odd\\nzcipc-dead:\\t1\\001\\e");
		EXPECT_EQ(1, lines(text, line)) TH_LOG("%s", text);
		EXPECT_EQ(1, lines(text, "zcipc-dead:\t0"));
		EXPECT_EQ(0, lines(text, "zcipc-dead:\t1"));
		EXPECT_EQ(1024, text_number(text, "queue-depth"));
		snprintf(line, sizeof(line), "zcipc-window-0:\t%u of %u pages used",
			 i ? 2 * N : N, i ? B_PAGES : WINDOW_PAGES);
		EXPECT_EQ(1, lines(text, line)) TH_LOG("%s", text);
		EXPECT_FALSE(has_address(text)) TH_LOG("%s", text);
		free(text);
	}
}

static bool no_debugfs(void)
{
	return access(DEBUGFS, X_OK);
}

TEST_F(stats, debugfs_stats)
{
	static const char * const types[] = { "move", "share", "copy", "grant" };
	unsigned int i, bucket, n = 0;
	char name[64], *text, *p;
	struct look l;

	if (no_debugfs())
		SKIP(return, "there is no " DEBUGFS);
	busy(_metadata, self);
	test_look(&self->a, 0, &l);
	text = file_text(AT_FDCWD, DEBUGFS "/stats");
	ASSERT_NE(NULL, text);
	same_as_text(_metadata, &l.stats[MODULE], text, false);
	/* Of the tables what is not 0, and nothing else. */
	for (i = 0; i < ZCIPC_STATS_ERRORS; i++) {
		if (!l.errors[i])
			continue;
		snprintf(name, sizeof(name), "failures-%u", i);
		EXPECT_EQ(l.errors[i], text_number(text, name)) TH_LOG("%s", name);
		n++;
	}
	EXPECT_LE(2, n);
	for (i = 0; i < ZCIPC_STATS_TYPES; i++) {
		for (bucket = 0; bucket < ZCIPC_STATS_BUCKETS; bucket++) {
			if (!l.latencies[i][bucket])
				continue;
			snprintf(name, sizeof(name), "latency-%s-from-%llu-ns", types[i],
				 bucket ? 1ULL << bucket : 0);
			EXPECT_EQ(l.latencies[i][bucket], text_number(text, name))
				TH_LOG("%s", name);
			n++;
		}
	}
	for (p = text; (p = strstr(p, "zcipc-failures-")); p++)
		n--;
	for (p = text; (p = strstr(p, "zcipc-latency-")); p++)
		n--;
	EXPECT_EQ(0, n) TH_LOG("%s", text);
	EXPECT_FALSE(has_address(text)) TH_LOG("%s", text);
	free(text);
}

/* The part of debugfs's list that is one endpoint's; whoever calls frees it. */
static char *endpoint_text(const struct ep *ep)
{
	char *all = file_text(AT_FDCWD, DEBUGFS "/endpoints"), *text, *end, *found = NULL;

	for (text = all; text && *text && !found; text = end + 2) {
		end = strstr(text, "\n\n");
		if (!end)
			break;
		*end = 0;
		if (text_number(text, "endpoint") == ep->id)
			found = strdup(text);
	}
	free(all);
	return found;
}

TEST_F(stats, debugfs_endpoints)
{
	struct zcipc_endpoint_config named = { .flags = ZCIPC_CONFIG_NAME, .name = "a peer" };
	struct call c = { .fn = call_setuid, .n = USER };
	struct zcipc_stats stats;
	char *text, *all;
	struct ep user;

	if (no_debugfs())
		SKIP(return, "there is no " DEBUGFS);
	busy(_metadata, self);
	ASSERT_EQ(0, peer_fork(&user));
	ASSERT_EQ(0, ep_call(&user, &c));
	ASSERT_EQ(0, peer_open(&user, 0, 0));
	TEST_OK(set_up(&user, named));

	text = endpoint_text(&self->b);
	ASSERT_NE(NULL, text);
	TEST_OK(zc_stats_of(&self->b, ZCIPC_STATS_ENDPOINT, 0, &stats));
	same_as_text(_metadata, &stats, text, true);
	EXPECT_EQ(self->b.pid, text_number(text, "pid"));
	EXPECT_EQ(0, text_number(text, "uid"));
	free(text);
	text = endpoint_text(&user);
	ASSERT_NE(NULL, text);
	EXPECT_EQ(user.pid, text_number(text, "pid"));
	EXPECT_EQ(USER, text_number(text, "uid"));
	EXPECT_EQ(1, lines(text, "zcipc-name:\ta peer")) TH_LOG("%s", text);
	free(text);

	all = file_text(AT_FDCWD, DEBUGFS "/endpoints");
	ASSERT_NE(NULL, all);
	EXPECT_FALSE(has_address(all)) TH_LOG("%s", all);
	free(all);

	ep_end(&user);
	EXPECT_EQ(NULL, endpoint_text(&user));
	text = endpoint_text(&self->b);
	EXPECT_NE(NULL, text);
	free(text);
}

/* What opening a file in a folder that is open gives another user: 0 or an errno. */
static int open_as_nobody(int dir, const char *name)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
			_exit(255);
		_exit(openat(dir, name, O_RDONLY) < 0 ? errno : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(stats, debugfs_is_private)
{
	static const char * const names[] = { "stats", "endpoints" };
	struct stat st;
	size_t i;
	int dir;

	if (no_debugfs())
		SKIP(return, "there is no " DEBUGFS);
	dir = open(DEBUGFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, dir);
	/* The folder itself is not what keeps anybody away. */
	ASSERT_EQ(0, open_as_nobody(dir, "."));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ASSERT_EQ(0, fstatat(dir, names[i], &st, 0));
		EXPECT_EQ(S_IFREG | 0400, st.st_mode);
		EXPECT_EQ(0, st.st_uid);
		EXPECT_EQ(EACCES, open_as_nobody(dir, names[i]));
	}
	close(dir);
}

/* --- tracepoints */

static bool no_tracefs(void)
{
	if (access(EVENTS, W_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	return access(EVENTS, W_OK);
}

/* How often an event is in a trace, as "NAME: VALUES". */
static unsigned int events(const char *trace, const char *event)
{
	size_t len = strlen(event);
	unsigned int n = 0;

	for (; (trace = strstr(trace, event)); trace += len)
		n += trace[len] == '\n';
	return n;
}

#define test_events(n, ...)						\
do {									\
	char __event[256];						\
									\
	snprintf(__event, sizeof(__event), __VA_ARGS__);		\
	EXPECT_EQ(n, events(trace, __event)) TH_LOG("%s", __event);	\
} while (0)

TEST_F(stats, tracepoints)
{
	unsigned long long a = self->a.id, b = self->b.id;
	struct buf move, share, copy, dst, snapshot;
	size_t at, all = 0;
	struct zcipc_recv m;
	char *trace, *p;
	__u64 token;

	if (no_tracefs())
		SKIP(return, "there is no " EVENTS);
	test_create(&self->a, 3, &move);
	test_create(&self->a, 4, &share);
	test_create(&self->a, 5, &copy);
	close(open(TRACEFS "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	self->tracing = true;
	file_write(EVENTS, "1");
	at = (move.p - self->a.win) / psize;
	test_pass(&self->a, &self->b, ZCIPC_MOVE, move.cap, &dst);
	test_pass(&self->a, &self->b, ZCIPC_SHARE, share.cap, &dst);
	test_pass(&self->a, &self->b, ZCIPC_COPY, copy.cap, &snapshot);
	test_touch_write(0, &self->a, copy.p + 2 * psize);
	test_touch_write(0, &self->b, snapshot.p + 2 * psize);
	TEST_OK(give(&self->a, &self->b, share.cap, RIGHTS_RW, &token));
	test_recv(&self->b, &m);
	TEST_OK(notify(&self->a, &self->b, share.cap, token));
	test_recv(&self->b, &m);
	TEST_ERR(ENOENT, notify(&self->a, &self->b, share.cap, 0));
	TEST_OK(take_back(&self->a, &self->b, token));
	test_recv(&self->b, &m);
	ASSERT_EQ(ZCIPC_REVOKED, m.type);
	test_err_send(EBUSY, &self->a, &self->b, ZCIPC_MOVE, share.cap);
	file_write(EVENTS, "0");
	self->tracing = false;
	/* Not after it is disabled. */
	test_err_send(EBUSY, &self->a, &self->b, ZCIPC_MOVE, share.cap);

	trace = file_text(AT_FDCWD, TRACEFS "/trace");
	ASSERT_NE(NULL, trace);
	test_events(1, "zcipc_prepare: sender=%llu peer=%llu type=MOVE pages=3", a, b);
	test_events(1, "zcipc_unmap: endpoint=%llu pgoff=%zu pages=3", a, at);
	test_events(1, "zcipc_commit: sender=%llu peer=%llu type=MOVE region=%llu pages=3 copied=0",
		    a, b, (unsigned long long)move.region);
	/* First fit: the peer's window was empty. */
	test_events(1, "zcipc_insert: endpoint=%llu pgoff=0 pages=3", b);
	test_events(1, "zcipc_receive: endpoint=%llu sender=%llu type=MOVE region=%llu len=%zu",
		    b, a, (unsigned long long)move.region, 3 * psize);

	test_events(1, "zcipc_prepare: sender=%llu peer=%llu type=SHARE pages=4", a, b);
	test_events(1,
		    "zcipc_commit: sender=%llu peer=%llu type=SHARE region=%llu pages=4 copied=0",
		    a, b, (unsigned long long)share.region);
	test_events(1, "zcipc_insert: endpoint=%llu pgoff=3 pages=4", b);
	test_events(1, "zcipc_receive: endpoint=%llu sender=%llu type=SHARE region=%llu len=%zu",
		    b, a, (unsigned long long)share.region, 4 * psize);

	test_events(1, "zcipc_prepare: sender=%llu peer=%llu type=COPY pages=5", a, b);
	test_events(1, "zcipc_unmap: endpoint=%llu pgoff=%zu pages=5", a,
		    (copy.p - self->a.win) / psize);
	test_events(1, "zcipc_commit: sender=%llu peer=%llu type=COPY region=%llu pages=5 copied=0",
		    a, b, (unsigned long long)snapshot.region);
	test_events(1, "zcipc_insert: endpoint=%llu pgoff=7 pages=5", b);
	test_events(1, "zcipc_cow_break: endpoint=%llu region=%llu page=2 copied", a,
		    (unsigned long long)copy.region);
	test_events(1, "zcipc_unmap: endpoint=%llu pgoff=%zu pages=1", a,
		    (copy.p - self->a.win) / psize + 2);
	test_events(1, "zcipc_insert: endpoint=%llu pgoff=%zu pages=1", a,
		    (copy.p - self->a.win) / psize + 2);
	test_events(1, "zcipc_cow_break: endpoint=%llu region=%llu page=2 reused", b,
		    (unsigned long long)snapshot.region);

	test_events(1, "zcipc_prepare: sender=%llu peer=%llu type=GRANT pages=4", a, b);
	test_events(1,
		    "zcipc_commit: sender=%llu peer=%llu type=GRANT region=%llu pages=4 copied=0",
		    a, b, (unsigned long long)share.region);
	test_events(1, "zcipc_notify: sender=%llu peer=%llu region=%llu len=%zu", a, b,
		    (unsigned long long)share.region, 4 * psize);
	test_events(1, "zcipc_receive: endpoint=%llu sender=%llu type=NOTIFY region=%llu len=%zu",
		    b, a, (unsigned long long)share.region, 4 * psize);
	test_events(1, "zcipc_fail: sender=%llu peer=%llu type=NOTIFY error=%d", a, b, -ENOENT);
	test_events(1, "zcipc_revoke: revoker=%llu owner=%llu region=%llu", a, b,
		    (unsigned long long)share.region);
	test_events(1, "zcipc_receive: endpoint=%llu sender=%llu type=REVOKED region=%llu len=%zu",
		    b, a, (unsigned long long)share.region, 4 * psize);
	test_events(1, "zcipc_fail: sender=%llu peer=%llu type=MOVE error=%d", a, b, -EBUSY);

	/* No others: prepare 5, commit 4, notify 1, receive 6, break 2, revoke 1, fail 2, map 9. */
	for (p = trace; (p = strstr(p, ": zcipc_")); p++)
		all++;
	EXPECT_EQ(30, all) TH_LOG("%s", trace);
	EXPECT_FALSE(has_address(trace)) TH_LOG("%s", trace);
	free(trace);
}

/* Who reads records instead of text needs the values of the types. */
TEST_F(stats, trace_formats)
{
	static const char * const names[] = { "prepare", "commit", "receive", "fail" };
	static const char * const types[] = {
		"{ 1, \"MOVE\" }", "{ 2, \"SHARE\" }", "{ 3, \"COPY\" }", "{ 4, \"GRANT\" }",
		"{ 5, \"REVOKED\" }", "{ 6, \"NOTIFY\" }",
	};
	char path[128], *text;
	size_t i, type;

	if (no_tracefs())
		SKIP(return, "there is no " EVENTS);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), TRACEFS "/events/zcipc/zcipc_%s/format", names[i]);
		text = file_text(AT_FDCWD, path);
		ASSERT_NE(NULL, text);
		for (type = 0; type < ARRAY_SIZE(types); type++)
			EXPECT_NE(NULL, strstr(text, types[type])) TH_LOG("%s", text);
		free(text);
	}
}

TEST_F(stats, tracefs_is_private)
{
	int dir;

	if (no_tracefs())
		SKIP(return, "there is no " EVENTS);
	EXPECT_EQ(EACCES, open_as_nobody(AT_FDCWD, TRACEFS "/trace"));
	EXPECT_EQ(EACCES, open_as_nobody(AT_FDCWD, EVENTS));
	/* Nor by a folder that root has opened. */
	dir = open(TRACEFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, dir);
	EXPECT_EQ(EACCES, open_as_nobody(dir, "trace"));
	EXPECT_EQ(EACCES, open_as_nobody(dir, "trace_pipe"));
	close(dir);
}

TEST_HARNESS_MAIN
