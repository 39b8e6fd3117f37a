/* ldiff.h: container layers out and in, for C and what can call it. Link with -lldiff (pkg-config ldiff).
 *
 * Manners: the library installs no signal handlers, prints nothing, reads no environment variables and changes neither the
 * working directory, nor the umask, nor any limit of the process. A handle belongs to one thread at a time; different handles
 * may be used at once. Do not use it in a child between fork and exec.
 *
 * Every function that can fail returns 0, or a negative code of `enum ldiff_code`, and then stores an error for the caller to
 * free where `error` is not NULL. Texts that a handle gives out belong to it and last as long as it does. Paths are bytes that
 * end with a zero byte. Structures of options begin with their size, so that they may grow: fill them with LDIFF_..._INIT.
 */
#ifndef LDIFF_H
#define LDIFF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LDIFF_API __attribute__((visibility("default")))
#else
#define LDIFF_API
#endif

/* ---- Version ---- */

#define LDIFF_VERSION_MAJOR 0
#define LDIFF_VERSION_MINOR 1
#define LDIFF_VERSION_PATCH 0
#define LDIFF_VERSION_NUMBER (LDIFF_VERSION_MAJOR * 10000 + LDIFF_VERSION_MINOR * 100 + LDIFF_VERSION_PATCH)

/* LDIFF_VERSION_NUMBER of the library that runs, and the same as text. */
LDIFF_API unsigned ldiff_version_number(void);
LDIFF_API const char *ldiff_version_string(void);

/* ---- Errors ---- */

/* Kinds of failure. A number is never given anew; there may be more of them one day. */
enum ldiff_code {
    LDIFF_OK = 0,
    LDIFF_E_INVALID_ARCHIVE = -1,     /* the archive is damaged or cut off */
    LDIFF_E_UNSAFE_PATH = -2,         /* the archive asks for something outside of the root */
    LDIFF_E_DIGEST_MISMATCH = -3,     /* the bytes do not have the expected digest */
    LDIFF_E_LIMIT_EXCEEDED = -4,      /* a bound on sizes or counts was exceeded */
    LDIFF_E_NOT_FOUND = -5,           /* an input does not exist */
    LDIFF_E_ALREADY_EXISTS = -6,      /* something of that name is there */
    LDIFF_E_CANNOT_CREATE = -7,       /* the output cannot be made where it was asked for */
    LDIFF_E_IN_USE = -8,              /* mounted, open or being made by somebody else */
    LDIFF_E_UNSUPPORTED = -9,         /* the kernel, file system or a driver lacks something */
    LDIFF_E_NOT_PERMITTED = -10,      /* the caller may not do that */
    LDIFF_E_NO_SPACE = -11,           /* the file system or its quota is full */
    LDIFF_E_IO = -12,                 /* reading or writing failed */
    LDIFF_E_FILE_CHANGED = -13,       /* a file changed while it was read */
    LDIFF_E_ID_UNMAPPED = -14,        /* an id has no place in the id map */
    LDIFF_E_CANCELLED = -15,          /* stopped by ldiff_cancel_set */
    LDIFF_E_INVALID_ARGUMENT = -16,   /* what was asked for makes no sense; nothing was done */
    LDIFF_E_CORRUPT_LAYER = -17,      /* a layer of a store is damaged */
    LDIFF_E_DRIVER_UNAVAILABLE = -18, /* a driver cannot work on this machine or in this place */
    LDIFF_E_CALLBACK = -19            /* a callback returned something else than 0 */
};

typedef struct ldiff_error ldiff_error;

LDIFF_API int ldiff_error_code(const ldiff_error *error);
/* One line: what was done, to what, why it failed, and what to do. */
LDIFF_API const char *ldiff_error_message(const ldiff_error *error);
/* What can be done about it, or NULL. */
LDIFF_API const char *ldiff_error_hint(const ldiff_error *error);
/* The path that it is about, `*count` bytes and a zero byte; NULL if there is none. */
LDIFF_API const uint8_t *ldiff_error_path(const ldiff_error *error, size_t *count);
LDIFF_API void ldiff_error_free(ldiff_error *error);

/* ---- Stopping and watching a job ---- */

typedef struct ldiff_cancel ldiff_cancel;

LDIFF_API ldiff_cancel *ldiff_cancel_new(void);
/* Stops, for good, every job that was given this. From any thread, and from signal handlers. */
LDIFF_API void ldiff_cancel_set(ldiff_cancel *cancel);
/* Not before the jobs that were given it have ended. */
LDIFF_API void ldiff_cancel_free(ldiff_cancel *cancel);

typedef struct ldiff_progress {
    size_t struct_size;
    uint64_t entries;           /* entries done */
    uint64_t bytes;             /* bytes of the uncompressed tar done */
    uint64_t total_entries;     /* in all, 0 while unknown */
    uint64_t total_bytes;       /* in all, 0 while unknown */
    uint64_t input_bytes;       /* compressed bytes read */
    uint64_t total_input_bytes; /* in all, 0 where nobody knows */
} ldiff_progress;

/* Called about ten times a second, by a thread of the library, never twice at once. Not 0 stops the job (LDIFF_E_CALLBACK). */
typedef int (*ldiff_progress_fn)(void *user, const ldiff_progress *progress);

/* ---- What a job did ---- */

typedef struct ldiff_report ldiff_report;

/* All of it, as a JSON object: libraryWrite or libraryApply of ldiff.schema.json, which comes with the command. */
LDIFF_API const char *ldiff_report_json(const ldiff_report *report);
/* "sha256:..." of the uncompressed tar, or NULL where it was not asked for. */
LDIFF_API const char *ldiff_report_diff_id(const ldiff_report *report);
/* "sha256:..." of the bytes written or read, or NULL where it was not asked for. */
LDIFF_API const char *ldiff_report_digest(const ldiff_report *report);
LDIFF_API void ldiff_report_free(ldiff_report *report);

/* ---- Directories: the four verbs ---- */

enum ldiff_dialect {
    LDIFF_DIALECT_TREE = 0, /* a whole tree; `lowers` has at most one, which it is compared with */
    LDIFF_DIALECT_OVERLAY = 1,
    LDIFF_DIALECT_AUFS = 2,
    LDIFF_DIALECT_FUSE_OVERLAYFS = 3
};

/* Whose bytes the tar equals. */
enum ldiff_profile {
    LDIFF_PROFILE_FULL = 0,
    LDIFF_PROFILE_MOBY = 1,
    LDIFF_PROFILE_DOCKER20 = 2,
    LDIFF_PROFILE_DOCKER20LATE = 3,
    LDIFF_PROFILE_CONTAINERD = 4,
    LDIFF_PROFILE_CSTORAGE = 5
};

enum ldiff_compression { LDIFF_COMPRESSION_NONE = 0, LDIFF_COMPRESSION_GZIP = 1, LDIFF_COMPRESSION_ZSTD = 2 };

#define LDIFF_LEVEL_DEFAULT INT32_MIN
#define LDIFF_NO_EPOCH INT64_MIN

/* Marks of the upper directory are in user. attributes (mounts with `userxattr`). */
#define LDIFF_FLAG_USERXATTR 1u
/* Leave out and count what may not be read, instead of failing. */
#define LDIFF_FLAG_SKIP_UNREADABLE 2u
/* Compute the digests; they are in the report. */
#define LDIFF_FLAG_DIGESTS 4u
/* Attributes and owners that cannot be set are warnings only. */
#define LDIFF_FLAG_BEST_EFFORT 8u
/* Wait until all is on the disk. */
#define LDIFF_FLAG_SYNC 16u

typedef struct ldiff_diff_options {
    size_t struct_size;
    const char *upper;         /* the tree, or the upper directory */
    const char *const *lowers; /* what lies below, nearest first */
    size_t lower_count;
    int32_t dialect;     /* enum ldiff_dialect */
    int32_t profile;     /* enum ldiff_profile */
    int32_t compression; /* enum ldiff_compression */
    int32_t level;       /* of the compression, or LDIFF_LEVEL_DEFAULT */
    int32_t workers;     /* threads; 0 is one a core */
    uint32_t flags;      /* LDIFF_FLAG_... */
    int64_t source_date_epoch; /* latest time of an entry, for the profile containerd; or LDIFF_NO_EPOCH */
    ldiff_progress_fn progress;
    void *user; /* goes to the callbacks */
    ldiff_cancel *cancel;
} ldiff_diff_options;

#define LDIFF_DIFF_OPTIONS_INIT \
    { sizeof(ldiff_diff_options), NULL, NULL, 0, LDIFF_DIALECT_TREE, LDIFF_PROFILE_FULL, LDIFF_COMPRESSION_NONE, \
      LDIFF_LEVEL_DEFAULT, 0, 0, LDIFF_NO_EPOCH, NULL, NULL, NULL }

typedef struct ldiff_apply_options {
    size_t struct_size;
    const char *const *lowers; /* for an upper directory what lies below, nearest first */
    size_t lower_count;
    int32_t dialect; /* enum ldiff_dialect */
    int32_t workers; /* threads; 0 is one a core */
    uint32_t flags;  /* LDIFF_FLAG_... */
    uint32_t reserved;
    uint64_t max_bytes;          /* that all files together may have; 0 is no limit */
    const char *expected_digest; /* "sha256:..." of the bytes as they are read, or NULL */
    const char *expected_diff_id; /* the same of the uncompressed tar, or NULL */
    ldiff_progress_fn progress;
    void *user; /* goes to the callbacks */
    ldiff_cancel *cancel;
} ldiff_apply_options;

#define LDIFF_APPLY_OPTIONS_INIT \
    { sizeof(ldiff_apply_options), NULL, 0, LDIFF_DIALECT_TREE, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL }

/* Takes all of `count` bytes. Not 0 stops the job (LDIFF_E_CALLBACK). One call at a time, by any thread. */
typedef int (*ldiff_write_fn)(void *user, const void *bytes, size_t count);
/* Stores at most `capacity` bytes and their number; none is the end. Not 0 stops the job. One call at a time, by any thread. */
typedef int (*ldiff_read_fn)(void *user, void *buffer, size_t capacity, size_t *count);

/* Writes the layer that turns what lies below into the upper directory. A file appears when it is complete; a descriptor stays
 * the caller's. `report` may be NULL. */
LDIFF_API int ldiff_diff_file(const ldiff_diff_options *options, const char *path, ldiff_report **report, ldiff_error **error);
LDIFF_API int ldiff_diff_fd(const ldiff_diff_options *options, int fd, ldiff_report **report, ldiff_error **error);
LDIFF_API int ldiff_diff_callback(const ldiff_diff_options *options, ldiff_write_fn write, ldiff_report **report,
                                  ldiff_error **error);

/* Applies a layer, compressed in any way, to the directory `root`, whose last component is made if it is missing. `options` may
 * be NULL. */
LDIFF_API int ldiff_apply_file(const ldiff_apply_options *options, const char *path, const char *root, ldiff_report **report,
                               ldiff_error **error);
LDIFF_API int ldiff_apply_fd(const ldiff_apply_options *options, int fd, const char *root, ldiff_report **report,
                             ldiff_error **error);
LDIFF_API int ldiff_apply_callback(const ldiff_apply_options *options, ldiff_read_fn read, const char *root,
                                   ldiff_report **report, ldiff_error **error);

/* One name that changed: kind 'A', 'C' or 'D', and its path of `count` bytes, which begins with a slash and is valid during the
 * call. Not 0 ends the listing (LDIFF_E_CALLBACK). */
typedef int (*ldiff_change_fn)(void *user, int kind, const uint8_t *path, size_t count);

/* Lists what changed, sorted by the bytes of the paths. */
LDIFF_API int ldiff_changes(const ldiff_diff_options *options, ldiff_change_fn change, ldiff_error **error);

typedef struct ldiff_sizes {
    size_t struct_size;
    uint64_t content_bytes;   /* what Docker's API says: bytes of all changed files, each inode once */
    uint64_t allocated_bytes; /* on disk, directories included */
    uint64_t header_bytes;    /* what the headers of the layer would name */
    uint64_t entries;
    uint64_t inodes;
} ldiff_sizes;

#define LDIFF_SIZES_INIT { sizeof(ldiff_sizes), 0, 0, 0, 0, 0 }

LDIFF_API int ldiff_size(const ldiff_diff_options *options, ldiff_sizes *sizes, ldiff_error **error);

/* ---- Stores of layers ---- */

typedef struct ldiff_store ldiff_store;
typedef struct ldiff_mount ldiff_mount;

/* Opens the store in the driver's directory `home`, or makes it. `driver` is overlay2, overlay, fuse-overlayfs, aufs or zfs;
 * `driver_options` are key=value texts as Docker's --storage-opt takes them. */
LDIFF_API int ldiff_store_open(const char *home, const char *driver, const char *const *driver_options, size_t option_count,
                               ldiff_store **store, ldiff_error **error);
/* Opens a store to be looked at: nothing is changed by it, not even a time. */
LDIFF_API int ldiff_store_read(const char *home, const char *driver, const char *const *driver_options, size_t option_count,
                               ldiff_store **store, ldiff_error **error);
LDIFF_API void ldiff_store_close(ldiff_store *store);

/* Makes an empty layer on `parent`, which may be NULL; `writable` is not 0 for a container's. */
LDIFF_API int ldiff_store_create(ldiff_store *store, const char *id, const char *parent, int writable, ldiff_error **error);
LDIFF_API int ldiff_store_remove(ldiff_store *store, const char *id, ldiff_error **error);
/* 1 or 0. */
LDIFF_API int ldiff_store_exists(const ldiff_store *store, const char *id);

/* An id; not 0 ends the listing (LDIFF_E_CALLBACK). */
typedef int (*ldiff_text_fn)(void *user, const char *text);
LDIFF_API int ldiff_store_list(const ldiff_store *store, ldiff_text_fn each, void *user, ldiff_error **error);

/* The four verbs. `since` is an ancestor, or NULL for the layer's parent; trees, dialect and id maps are the store's, so what
 * `options` says of these is not looked at. */
LDIFF_API int ldiff_store_diff_file(const ldiff_store *store, const char *id, const char *since,
                                    const ldiff_diff_options *options, const char *path, ldiff_report **report,
                                    ldiff_error **error);
LDIFF_API int ldiff_store_diff_fd(const ldiff_store *store, const char *id, const char *since,
                                  const ldiff_diff_options *options, int fd, ldiff_report **report, ldiff_error **error);
LDIFF_API int ldiff_store_diff_callback(const ldiff_store *store, const char *id, const char *since,
                                        const ldiff_diff_options *options, ldiff_write_fn write, ldiff_report **report,
                                        ldiff_error **error);
/* Applies a layer as `id` on `parent`, which may be NULL: it appears when it is complete. */
LDIFF_API int ldiff_store_apply_file(ldiff_store *store, const char *id, const char *parent,
                                     const ldiff_apply_options *options, const char *path, ldiff_report **report,
                                     ldiff_error **error);
LDIFF_API int ldiff_store_apply_fd(ldiff_store *store, const char *id, const char *parent,
                                   const ldiff_apply_options *options, int fd, ldiff_report **report, ldiff_error **error);
LDIFF_API int ldiff_store_apply_callback(ldiff_store *store, const char *id, const char *parent,
                                         const ldiff_apply_options *options, ldiff_read_fn read, ldiff_report **report,
                                         ldiff_error **error);
LDIFF_API int ldiff_store_changes(const ldiff_store *store, const char *id, const char *since, const ldiff_diff_options *options,
                                  ldiff_change_fn change, ldiff_error **error);
LDIFF_API int ldiff_store_size(const ldiff_store *store, const char *id, const char *since, const ldiff_diff_options *options,
                               uint64_t *content_bytes, ldiff_error **error);

/* Mounts the layer's tree until ldiff_store_unmount, which frees the handle whatever it returns. */
LDIFF_API int ldiff_store_mount(ldiff_store *store, const char *id, ldiff_mount **mount, ldiff_error **error);
LDIFF_API const char *ldiff_mount_path(const ldiff_mount *mount);
LDIFF_API int ldiff_store_unmount(ldiff_mount *mount, ldiff_error **error);

/* Calls `each` with what a crash left in the store, a line each; with `repair` not 0 it is mended. */
LDIFF_API int ldiff_store_check(ldiff_store *store, int repair, ldiff_text_fn each, void *user, ldiff_error **error);

#ifdef __cplusplus
}
#endif

#endif
