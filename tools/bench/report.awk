# SPDX-License-Identifier: GPL-2.0
#
# What scripts/bench prints about CSV files, from which it draws plots, too:
#
#	awk -v what=table|summary|crossovers|check -f report.awk [limits] CSV...

BEGIN { FS = ","; nfiles = 0 }

FNR == 1 && FILENAME ~ /\.csv$/ {
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.csv$/, "", name)
	files[nfiles++] = name
	next
}

FILENAME !~ /\.csv$/ {
	if ($0 !~ /^#/)
		limits[nlimits++] = $0
	next
}

{
	key = $1 "," $2 "," $3
	value[name "," key] = $4
	if (!(($1) in seen)) {
		seen[$1] = 1
		mechanisms[nmechanisms++] = $1
	}
	if ($3 == "per_message")
		sizes[name "," $1] = sizes[name "," $1] " " $2
	if ($3 ~ /^(endpoints|regions|queues)_/)
		growth[ngrowth++] = name "," key
}

function get(file, mechanism, size, metric) {
	key = file "," mechanism "," size "," metric
	return key in value ? value[key] : ""
}

function cell(v) {
	return v == "" ? "-" : sprintf(v < 100 && v > -100 ? "%.1f" : "%.0f", v)
}

# One line for each mechanism: what a message of 4 KiB, 64 KiB and 4 MiB costs, and a page of these.
function table(	f, i, m) {
	for (f = 0; f < nfiles; f++) {
		printf "%s\n%-18s %11s %11s %11s %9s  %s\n", files[f], "", "4 KiB", "64 KiB",
		       "4 MiB", "a page", "other"
		for (i = 0; i < nmechanisms; i++) {
			m = mechanisms[i]
			if (!((files[f] "," m) in sizes))
				continue
			printf "%-18s %11s %11s %11s %9s ", m,
			       cell(get(files[f], m, m ~ /^(futex|pipe-byte)$/ ? 0 : 4096,
					"per_message")),
			       cell(get(files[f], m, 65536, "per_message")),
			       cell(get(files[f], m, 4194304, "per_message")),
			       cell(get(files[f], m, 4194304, "per_page"))
			other(files[f], m, 4096, "fixed")
			other(files[f], m, 4096, "fixed_polled")
			other(files[f], m, 4194304, "call_per_page")
			other(files[f], m, 4194304, "release_per_page")
			other(files[f], m, 67108864, "per_2m_page")
			other(files[f], m, 1048576, "per_entry")
			other(files[f], m, 1048576, "received_per_entry")
			if (m ~ /-msg-1m/)
				other(files[f], m, 1048576, "per_message")
			printf "\n"
		}
	}
}

# What a message of a stream costs beyond filling and reading it.
function streams(	f, i, m, known) {
	for (f = 0; f < nfiles; f++) {
		known = 0
		for (i = 0; i < nmechanisms; i++) {
			m = mechanisms[i]
			if (get(files[f], m, 4096, "end_to_end") == "")
				continue
			if (!known++)
				printf "%s, streams\n%-18s %11s %11s %11s %11s\n", files[f], "",
				       "4 KiB", "64 KiB", "1 MiB", "16 MiB"
			printf "%-18s %11s %11s %11s %11s\n", m,
			       cell(get(files[f], m, 4096, "beyond_own")),
			       cell(get(files[f], m, 65536, "beyond_own")),
			       cell(get(files[f], m, 1048576, "beyond_own")),
			       cell(get(files[f], m, 16777216, "beyond_own"))
		}
	}
}

# The same of all files side by side, as in the README.
function summary(	f, i, m) {
	printf "%-22s", ""
	for (f = 0; f < nfiles; f++)
		printf "%s%33s", f ? "  " : " ", files[f]
	printf "\n%-22s", ""
	for (f = 0; f < nfiles; f++)
		printf "%s%8s %8s %8s %6s", f ? "  " : " ", "4 KiB", "64 KiB", "4 MiB", "a page"
	printf "\n"
	for (i = 0; i < nmechanisms; i++) {
		m = mechanisms[i]
		if (m ~ /^(futex|pipe-byte)$|batch|msg/)
			continue
		printf "%-22s", m
		for (f = 0; f < nfiles; f++)
			printf "%s%8s %8s %8s %6s", f ? "  " : " ",
			       cell(get(files[f], m, 4096, "per_message")),
			       cell(get(files[f], m, 65536, "per_message")),
			       cell(get(files[f], m, 4194304, "per_message")),
			       cell(get(files[f], m, 4194304, "per_page"))
		printf "\n"
	}
}

function other(file, mechanism, size, metric,	v) {
	v = get(file, mechanism, size, metric)
	if (v != "")
		printf " %s %s", metric, cell(v)
}

# From which size on @ours costs less than @theirs: bytes, 0: any, -1: none, "": not measured.
function crossover(file, ours, theirs,	list, n, i, a, b, last_a, x, from) {
	n = split(sizes[file "," ours], list, " ")
	x = ""
	for (i = 1; i <= n; i++) {
		a = get(file, ours, list[i], "per_message")
		b = get(file, theirs, list[i], "per_message")
		if (a == "" || b == "")
			continue
		a = log(a / b)
		if (a >= 0)
			x = -1
		else if (x == "")
			x = 0
		else if (x == -1)
			x = exp(log(from) + (log(list[i]) - log(from)) * last_a / (last_a - a))
		last_a = a
		from = list[i]
	}
	return x
}

function bytes(n) {
	return n >= 1048576 ? sprintf("%.1f MiB", n / 1048576) : sprintf("%.1f KiB", n / 1024)
}

function where(x) {
	return x == 0 ? "at any size" : x < 0 ? "at no size" : "from " bytes(x) " up"
}

function crossovers(	f, i, j, x, ours, theirs, no, nt) {
	no = split("0 100 memory", ours, " ")
	for (f = 0; f < nfiles; f++)
		for (i = 1; i <= no; i++) {
			x = crossover(files[f], "zcipc-copy-" ours[i], "zcipc-auto-" ours[i])
			if (x != "")
				printf "%s: zcipc-copy-%s costs less than zcipc-auto-%s %s\n",
				       files[f], ours[i], ours[i], where(x)
		}
	no = split("zcipc-move-4k zcipc-move-2m zcipc-move-fast zcipc-move-2m-polled", ours, " ")
	nt = split("process-vm-readv ring-1copy ring-2copy vmsplice memfd-kept pipe", theirs, " ")
	for (f = 0; f < nfiles; f++)
		for (i = 1; i <= no; i++)
			for (j = 1; j <= nt; j++) {
				x = crossover(files[f], ours[i], theirs[j])
				if (x == "")
					continue
				printf "%s: %s costs less than %s %s\n", files[f], ours[i],
				       theirs[j], where(x)
			}
}

function verdict(ok, text) {
	printf "%s %s\n", ok ? "met    " : "NOT MET", text
	if (ok)
		met++
	else
		unmet++
}

# Not cheaper from there up means not met.
function reaches(file, ours, theirs, up,	v) {
	v = crossover(file, ours, theirs)
	if (v != "")
		verdict(v >= 0 && v <= up,
			sprintf("%s %s costs less than %s %s, limit %s", file, ours, theirs,
				where(v), bytes(up)))
}

function check(	f, i, l, limit, v, first, of, parts, kind) {
	for (f = 0; f < nfiles; f++) {
		for (i = 0; i < nlimits; i++) {
			split(limits[i], l, / +/)
			limit = files[f] ~ /^6\.1-/ ? l[5] : l[4]
			if (limit ~ /%/) {
				of = limit
				sub(/.*%/, "", of)
				limit = get(files[f], of, 0, "per_message") * (limit + 0) / 100
			}
			v = get(files[f], l[1], l[3], l[2])
			if (v == "")
				printf "none    %s %s %s\n", files[f], l[1], l[2]
			else
				verdict(v + 0 <= limit + 0,
					sprintf("%s %s %s: %s, at most %.0f", files[f], l[1],
						l[2], cell(v), limit))
		}
		reaches(files[f], "zcipc-move-2m", "process-vm-readv", 16384)
		reaches(files[f], "zcipc-move-2m-polled", "process-vm-readv", 8192)
		reaches(files[f], "zcipc-move-2m", "ring-1copy", 65536)
	}
	for (i = 0; i < ngrowth; i++) {
		split(growth[i], parts, ",")
		kind = parts[4]
		sub(/_.*/, "", kind)
		first = parts[1] "," parts[2] "," parts[3] "," kind "_1"
		if (!(first in value) || growth[i] == first)
			continue
		v = 100 * (value[growth[i]] / value[first] - 1)
		verdict(v < 10, sprintf("%s %s %s: %+.1f %%, below 10 %%", parts[1], parts[2],
					parts[4], v))
	}
	printf "%d met, %d not met\n", met, unmet
}

END {
	if (what == "table") {
		table()
		streams()
	} else if (what == "summary")
		summary()
	else if (what == "crossovers")
		crossovers()
	else
		check()
}
