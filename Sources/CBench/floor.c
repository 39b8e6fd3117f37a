/* What the machine itself needs for a job, with nothing around it: the least system calls on as many threads as ldiff
 * has workers, no output made. Measured beside ldiff, so that "how much is left" has an answer on each machine. */
#define _GNU_SOURCE
#include "CBench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, MAX_WORKERS = 64 };

/* The first failure ends the process: nobody else lives in it. */
static void fail(const char *what) {
    int error = errno;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
    _exit(74);
}

/* Directories still to be visited: a stack that all threads share. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    char **paths;
    size_t count, capacity;
    int busy;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* What is done with each entry. */
static struct {
    int reads;
    /* The directory's own word on what an entry is suffices. */
    int lists;
    /* For copies: the new tree's root, and how long the old one's path is. */
    int copy_root;
    size_t prefix;
} task = {.copy_root = -1};

static void push(char *path) {
    if (!path) fail("memory");
    pthread_mutex_lock(&work.lock);
    if (work.count == work.capacity) {
        work.capacity = work.capacity ? work.capacity * 2 : 1024;
        work.paths = realloc(work.paths, work.capacity * sizeof *work.paths);
        if (!work.paths) fail("memory");
    }
    work.paths[work.count++] = path;
    pthread_cond_signal(&work.more);
    pthread_mutex_unlock(&work.lock);
}

/* The next directory, or NULL when none is left and nobody can find one more. */
static char *pop(int first) {
    pthread_mutex_lock(&work.lock);
    if (!first && --work.busy == 0) pthread_cond_broadcast(&work.more);
    while (work.count == 0 && work.busy > 0) pthread_cond_wait(&work.more, &work.lock);
    char *path = NULL;
    if (work.count > 0) {
        path = work.paths[--work.count];
        work.busy++;
    }
    pthread_mutex_unlock(&work.lock);
    return path;
}

static void stamp(int file, int64_t seconds, long nanoseconds) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    if (futimens(file, times)) fail("futimens");
}

static void visit_file(int directory, int target, const struct dirent64 *entry, const struct statx *status, char *buffer) {
    int file = openat(directory, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) fail(entry->d_name);
    int copy = -1;
    if (target >= 0) {
        copy = openat(target, entry->d_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, status->stx_mode & 07777);
        if (copy < 0) fail(entry->d_name);
    }
    /* A file that is shorter than asked for needs no second read to know its end. */
    for (uint64_t done = 0; done < status->stx_size;) {
        ssize_t count = read(file, buffer, BUFFER);
        if (count < 0) fail(entry->d_name);
        if (count == 0) break;
        if (copy >= 0 && write(copy, buffer, (size_t)count) != count) fail(entry->d_name);
        done += (uint64_t)count;
    }
    close(file);
    if (copy >= 0) {
        stamp(copy, status->stx_mtime.tv_sec, status->stx_mtime.tv_nsec);
        close(copy);
    }
}

static void visit(int directory, int target, const char *parent, const struct dirent64 *entry, char *buffer) {
    struct statx status;
    if (task.lists && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) return;
    if (statx(directory, entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status)) fail(entry->d_name);
    if (S_ISDIR(status.stx_mode)) {
        if (target >= 0 && mkdirat(target, entry->d_name, status.stx_mode & 07777)) fail(entry->d_name);
        char *path = NULL;
        if (asprintf(&path, "%s/%s", parent, entry->d_name) < 0) fail("memory");
        push(path);
    } else if (S_ISREG(status.stx_mode) && task.reads) {
        visit_file(directory, target, entry, &status, buffer);
    } else if (S_ISLNK(status.stx_mode) && target >= 0) {
        ssize_t count = readlinkat(directory, entry->d_name, buffer, BUFFER - 1);
        if (count < 0) fail(entry->d_name);
        buffer[count] = 0;
        if (symlinkat(buffer, target, entry->d_name)) fail(entry->d_name);
    }
}

static void *walk(void *unused) {
    char *buffer = malloc(BUFFER), *names = malloc(BUFFER);
    if (!buffer || !names) fail("memory");
    int first = 1;
    for (char *path; (path = pop(first)); first = 0) {
        int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), target = -1;
        if (directory < 0) fail(path);
        if (task.copy_root >= 0) {
            const char *below = path + task.prefix;
            while (*below == '/') below++;
            target = openat(task.copy_root, *below ? below : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (target < 0) fail(path);
        }
        for (ssize_t count; (count = getdents64(directory, names, BUFFER)) > 0;) {
            for (ssize_t at = 0; at < count;) {
                const struct dirent64 *entry = (const struct dirent64 *)(names + at);
                at += entry->d_reclen;
                if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
                    visit(directory, target, path, entry, buffer);
                }
            }
        }
        if (target >= 0) close(target);
        close(directory);
        free(path);
    }
    return unused;
}

static uint64_t octal(const char *field, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width && field[i] >= '0' && field[i] <= '7'; i++) value = value * 8 + (uint64_t)(field[i] - '0');
    return value;
}

static struct {
    const char *bytes;
    size_t size;
    int root, workers;
} layer;

/* Takes the path of a PAX record list, if it has one that fits. */
static void pax_path(const char *body, size_t size, char *name, size_t capacity) {
    for (size_t at = 0; at < size;) {
        size_t length = strtoul(body + at, NULL, 10);
        const char *key = memchr(body + at, ' ', size - at);
        if (!key || length == 0 || length > size - at) return;
        if (!strncmp(key + 1, "path=", 5)) {
            size_t count = (size_t)(body + at + length - 1 - (key + 6));
            if (count < capacity) {
                memcpy(name, key + 6, count);
                name[count] = 0;
            }
        }
        at += length;
    }
}

static void create(const char *name, const char *header, uint64_t size) {
    int file = openat(layer.root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, octal(header + 100, 7) & 07777);
    if (file < 0) fail(name);
    if (size && write(file, header + 512, size) != (ssize_t)size) fail(name);
    stamp(file, (int64_t)octal(header + 136, 11), 0);
    close(file);
}

/* Every thread reads all headers. The first pass makes the directories; then each thread makes the files of its own
 * ones, because creation in one directory excludes itself. */
static void *unpack(void *share) {
    long mine = (long)share;
    char name[8192] = "";
    for (size_t at = 0; at + 512 <= layer.size && layer.bytes[at];) {
        const char *header = layer.bytes + at;
        uint64_t size = octal(header + 124, 11);
        if (size > layer.size - at - 512) break;
        char type = header[156];
        if (type == 'x') {
            pax_path(header + 512, size, name, sizeof name);
        } else {
            if (!name[0]) snprintf(name, sizeof name, "%.155s%s%.100s", header + 345, header[345] ? "/" : "", header);
            uint64_t hash = 5381;
            const char *slash = strrchr(name, '/');
            for (const char *c = name; slash && c < slash; c++) hash = hash * 33 + (unsigned char)*c;
            if (type == '5' && mine < 0) {
                if (strcmp(name, "./") && mkdirat(layer.root, name, octal(header + 100, 7) & 07777)) fail(name);
            } else if (mine >= 0 && (long)(hash % (unsigned)layer.workers) == mine) {
                if (type == '0') create(name, header, size);
                char target[101];
                snprintf(target, sizeof target, "%.100s", header + 157);
                if (type == '2' && target[0] && symlinkat(target, layer.root, name)) fail(name);
            }
            name[0] = 0;
        }
        at += 512 + (size + 511) / 512 * 512;
    }
    return NULL;
}

static void run(int workers, void *(*body)(void *)) {
    pthread_t threads[MAX_WORKERS];
    for (long i = 0; i < workers; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)i)) fail("pthread_create");
    for (int i = 0; i < workers; i++) pthread_join(threads[i], NULL);
}

int cbench_floor(const char *kind, int workers, const char *first, const char *second) {
    umask(0);
    if (workers < 1) workers = 1;
    if (workers > MAX_WORKERS) workers = MAX_WORKERS;
    if (!strcmp(kind, "create") && second) {
        int file = open(first, O_RDONLY | O_CLOEXEC);
        struct stat status;
        if (file < 0 || fstat(file, &status)) fail(first);
        layer.size = (size_t)status.st_size;
        layer.bytes = mmap(NULL, layer.size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
        if (layer.bytes == MAP_FAILED) fail("mmap");
        layer.root = open(second, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (layer.root < 0) fail(second);
        layer.workers = workers;
        unpack((void *)-1L);
        run(workers, unpack);
        return 0;
    }
    int copies = !strcmp(kind, "copy") && second, pairs = !strcmp(kind, "pair") && second;
    task.reads = copies || !strcmp(kind, "read");
    task.lists = !strcmp(kind, "list");
    if (!task.reads && !task.lists && !pairs && strcmp(kind, "stat")) return -EINVAL;
    if (copies) {
        task.prefix = strlen(first);
        task.copy_root = open(second, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (task.copy_root < 0) fail(second);
    }
    push(strdup(first));
    if (pairs) push(strdup(second));
    run(workers, walk);
    return 0;
}
