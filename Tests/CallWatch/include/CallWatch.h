// A program whose calls to one file system are counted, failed, or answered with its death: every call of every thread and
// library, SQLite's among them, since the kernel itself asks (seccomp_unotify(2)). For tests; needs root.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/// For the new program itself: has its calls watched from now on, stops until `watch_take` has come, and becomes `words[0]`.
/// Returns only when it fails, with errno.
int watch_exec(char *const words[]);

struct call_watch;

/// Takes over the calls of `process`, which waits in `watch_exec`. `store` names the file system whose calls count. NULL with errno
/// when it fails.
struct call_watch *watch_take(pid_t process, const char *store);

/// Lets the process go on.
void watch_go(struct call_watch *watch);

/// Which calls count.
enum watch_kind {
    /// Those that may need room.
    WATCH_ALLOCATING = 1,
    /// Those that change something.
    WATCH_CHANGING = 2,
    /// Those that only look.
    WATCH_LOOKING = 4,
    /// Those that wait until what was written is on the disk.
    WATCH_SYNCING = 8,
};

/// The process is killed instead of having the call fail.
#define WATCH_KILL 100000

/// From now on calls of `kinds` are counted; the one with the number `call` fails with `error`, with `lasts` all after it as well. 0
/// only counts.
void watch_plan(struct call_watch *watch, uint32_t kinds, uint64_t call, int error, bool lasts);

/// Nothing is counted, and nothing fails any more.
void watch_rest(struct call_watch *watch);

/// Calls that were counted since the plan.
uint64_t watch_calls(const struct call_watch *watch);

/// The call that failed first, as text; valid until the next plan.
const char *watch_failed(const struct call_watch *watch);

/// Stops watching. Whatever the process still calls fails, so end it before.
void watch_end(struct call_watch *watch);
