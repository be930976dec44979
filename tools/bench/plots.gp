# SPDX-License-Identifier: GPL-2.0
#
# Draws what is in one CSV file: gnuplot -e "csv='...'; out='...'; title='...'; unit='...'" plots.gp
# One file for each plot and format: OUT-NAME.svg and .png.

moves = "zcipc-move-4k zcipc-move-2m zcipc-move-fast zcipc-share zcipc-copy-0 zcipc-share-once"
peers = "process-vm-readv ring-1copy vmsplice pipe memfd-kept memfd-populate uffdio-move"
rivals = "process-vm-readv ring-1copy ring-2copy vmsplice pipe memfd-kept"
select(m, metric) = sprintf("< awk -F, '$1 == \"%s\" && $3 == \"%s\" { print $2, $4 }' %s", \
	m, metric, csv)
# "endpoints_100": 100, and the value against that of "endpoints_1".
grown(m, kind) = sprintf("< awk -F, '$1 == \"%s\" && sub(/^%s_/, \"\", $3) { " \
	. "if ($3 == 1) f = $4; print $3, 100 * ($4 / f - 1) }' %s", m, kind, csv)
rates(m, size) = sprintf("< awk -F, '$1 == \"%s\" && $2 == %d && sub(/^rate_/, \"\", $3) " \
	. "{ print $3 + 0, $4 }' %s", m, size, csv)
# What @m costs, against MOVE.
ratio(m) = sprintf("< awk -F, '$3 == \"per_message\" { if ($1 == \"zcipc-move-4k\") v[$2] = $4; " \
	. "else if ($1 == \"%s\" && v[$2]) print $2, $4 / v[$2] }' %s", m, csv)
has(pattern) = system(sprintf("grep -cE '%s' %s", pattern, csv)) + 0

colours = "#9400d3 #009e73 #56b4e9 #e69f00 #c0a000 #0072b2 #e51e10 #000000 #8b4513 #ff69b4 " \
	. "#228b22 #708090 #4b0082"
do for [i = 1:words(colours)] {
	set linetype i lc rgb word(colours, i) pt i
}
set linetype cycle words(colours)
set grid lc rgb "#dddddd"
set key outside right top samplen 2
set style data linespoints
set pointsize 0.5
set xtics ("4 KiB" 4096, "16" 16384, "64" 65536, "256" 262144, "1 MiB" 1048576, "4" 4194304, \
	"16" 16777216, "64" 67108864, "256" 268435456)
do for [format in "svg png"] {
	if (format eq "svg") {
		set terminal svg size 900,520 font "DejaVu Sans,12" background "white"
	} else {
		set terminal pngcairo size 1200,700 font "DejaVu Sans,11"
	}
	set logscale x 10
	set logscale y 10
	set format y "%.0s%c"
	set xlabel "message"
	if (has(",per_message,")) {
		set ylabel unit
		set yrange [(unit eq "ns" ? 100 : 1000):]
		set output sprintf("%s-message.%s", out, format)
		set title title . ": a message, wake-up included"
		plot for [m in moves] select(m, "per_message") lw 2 title m, \
		     for [m in peers . " pool"] select(m, "per_message") dt 2 title m
		set output sprintf("%s-page.%s", out, format)
		set title title . ": 4 KiB of a message, without the wake-up"
		set yrange [1:]
		plot for [m in moves] select(m, "per_page") lw 2 title m, \
		     for [m in peers] select(m, "per_page") dt 2 title m
		set yrange [*:*]
		set logscale y 2
		set output sprintf("%s-crossover.%s", out, format)
		set title title . ": others against MOVE. Below 1 they cost less"
		set ylabel "times the cost of zcipc-move-4k"
		set format y "%g"
		plot for [m in rivals] ratio(m) title m, ratio("zcipc-move-2m") lw 2 \
		     title "zcipc-move-2m", 1 with lines lw 2 lc rgb "black" title "zcipc-move-4k"
	}
	grow = "zcipc-move-4k zcipc-move-fast zcipc-share zcipc-copy-0 zcipc-stream-4k " \
		. "zcipc-batch-256"
	unset logscale y
	set format y "%g"
	if (has(",endpoints_")) {
		set output sprintf("%s-growth.%s", out, format)
		set title title . ": a page, with other endpoints (solid) or regions (dashed)"
		set xlabel "how many others"
		set ylabel "% more than with one"
		set xtics auto
		set format x "%g"
		set yrange [-2:12]
		plot for [m in grow] grown(m, "endpoints") lw 2 title m, \
		     for [i = 1:words(grow)] grown(word(grow, i), "regions") lt i dt 2 notitle
		set yrange [*:*]
	}
	if (has(",rate_")) {
		set output sprintf("%s-scaling.%s", out, format)
		set title title . ": messages of 64 KiB, a pair of processes for every 2 CPUs"
		set xlabel "CPUs"
		set ylabel "messages/s"
		set xtics (1, 2, 4, 8)
		plot for [m in "zcipc-move-4k zcipc-move-fast process-vm-readv memfd-kept " \
			. "ring-1copy"] rates(m, 65536) title m
	}
	set xtics ("4 KiB" 4096, "16" 16384, "64" 65536, "256" 262144, "1 MiB" 1048576, \
		"4" 4194304, "16" 16777216, "64" 67108864, "256" 268435456)
}
