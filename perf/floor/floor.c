/* What the machine itself needs for a job, with nothing around it: the least system calls on two threads, no output made.
 *
 *   floor stat TREE          reads every directory and asks for every entry's metadata
 *   floor read TREE          the same, and reads every file
 *   floor create TAR ROOT    makes the directories and files of a plain tar beneath an empty root: no owners, attributes or links
 *
 * Measured beside ldiff by perf/measure, so that "how much is left" has an answer on each machine. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 2, BUFFER = 1 << 20 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Directories still to be read: a stack that both threads share. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    char **paths;
    size_t count, capacity;
    int busy, reads;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void push(char *path) {
    pthread_mutex_lock(&work.lock);
    if (work.count == work.capacity) {
        work.capacity = work.capacity ? work.capacity * 2 : 1024;
        work.paths = realloc(work.paths, work.capacity * sizeof *work.paths);
        if (!work.paths) fail("realloc");
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

static void visit(int directory, const char *parent, const struct dirent64 *entry, char *buffer) {
    struct statx status;
    if (statx(directory, entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status)) fail(entry->d_name);
    if (S_ISDIR(status.stx_mode)) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", parent, entry->d_name) < 0) fail("asprintf");
        push(path);
    } else if (work.reads && S_ISREG(status.stx_mode)) {
        int file = openat(directory, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (file < 0) fail(entry->d_name);
        while (read(file, buffer, BUFFER) > 0) {}
        close(file);
    }
}

static void *walk(void *unused) {
    char *buffer = malloc(BUFFER), *names = malloc(BUFFER);
    if (!buffer || !names) fail("malloc");
    int first = 1;
    for (char *path; (path = pop(first)); first = 0) {
        int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directory < 0) fail(path);
        for (ssize_t count; (count = getdents64(directory, names, BUFFER)) > 0;) {
            for (ssize_t at = 0; at < count;) {
                const struct dirent64 *entry = (const struct dirent64 *)(names + at);
                at += entry->d_reclen;
                if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) visit(directory, path, entry, buffer);
            }
        }
        close(directory);
        free(path);
    }
    return unused;
}

static unsigned long octal(const char *field, int width) {
    unsigned long value = 0;
    for (int i = 0; i < width && field[i] >= '0' && field[i] <= '7'; i++) value = value * 8 + (unsigned long)(field[i] - '0');
    return value;
}

static struct {
    const char *bytes;
    size_t size;
    int root;
} layer;

/* Takes the path of a PAX record list, if it has one. */
static void pax_path(const char *body, size_t size, char *name) {
    for (size_t at = 0; at < size;) {
        size_t length = strtoul(body + at, NULL, 10);
        const char *key = memchr(body + at, ' ', size - at);
        if (!key || length == 0) return;
        if (!strncmp(key + 1, "path=", 5)) {
            size_t count = (size_t)(body + at + length - 1 - (key + 6));
            memcpy(name, key + 6, count);
            name[count] = 0;
        }
        at += length;
    }
}

static void create(const char *name, const char *header, unsigned long size) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)octal(header + 136, 11)}};
    int file = openat(layer.root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, octal(header + 100, 7) & 07777);
    if (file < 0) fail(name);
    if (size && write(file, header + 512, size) != (ssize_t)size) fail(name);
    if (futimens(file, times)) fail(name);
    close(file);
}

/* Every thread reads all headers. The first pass makes the directories; then each thread makes the files of its own ones,
 * because creation in one directory excludes itself. */
static void *unpack(void *share) {
    long mine = (long)share;
    char name[8192] = "";
    for (size_t at = 0; at + 512 <= layer.size && layer.bytes[at];) {
        const char *header = layer.bytes + at;
        unsigned long size = octal(header + 124, 11);
        char type = header[156];
        if (type == 'x') {
            pax_path(header + 512, size, name);
        } else {
            if (!name[0]) snprintf(name, sizeof name, "%.155s%s%.100s", header + 345, header[345] ? "/" : "", header);
            if (type == '5' && mine < 0) {
                if (mkdirat(layer.root, name, octal(header + 100, 7) & 07777)) fail(name);
            } else if (type == '0' && mine >= 0) {
                unsigned long hash = 5381;
                const char *slash = strrchr(name, '/');
                for (const char *c = name; slash && c < slash; c++) hash = hash * 33 + (unsigned char)*c;
                if ((long)(hash % THREADS) == mine) create(name, header, size);
            }
            name[0] = 0;
        }
        at += 512 + (size + 511) / 512 * 512;
    }
    return NULL;
}

static void run(void *(*body)(void *)) {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)i)) fail("pthread_create");
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

int main(int count, char **words) {
    umask(0);
    if (count == 3 && (!strcmp(words[1], "stat") || !strcmp(words[1], "read"))) {
        work.reads = words[1][0] == 'r';
        push(strdup(words[2]));
        run(walk);
    } else if (count == 4 && !strcmp(words[1], "create")) {
        int file = open(words[2], O_RDONLY | O_CLOEXEC);
        struct stat status;
        if (file < 0 || fstat(file, &status)) fail(words[2]);
        layer.size = (size_t)status.st_size;
        layer.bytes = mmap(NULL, layer.size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
        if (layer.bytes == MAP_FAILED) fail("mmap");
        layer.root = open(words[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (layer.root < 0) fail(words[3]);
        unpack((void *)-1L);
        run(unpack);
    } else {
        fprintf(stderr, "usage: floor stat TREE | floor read TREE | floor create TAR ROOT\n");
        return 64;
    }
    return 0;
}
