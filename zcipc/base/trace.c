// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints: see trace.h.
 */
#define CREATE_TRACE_POINTS
#include "base/trace.h"
