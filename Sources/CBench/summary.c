#define _GNU_SOURCE
#include "CBench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static uint64_t stir(uint64_t value) {
    value ^= value >> 31;
    value *= 0x9e6c63d0876a9a47u;
    value ^= value >> 29;
    return value;
}

void cbench_hash_add(struct cbench_hash *hash, const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    while (count > 0) {
        unsigned used = (unsigned)(hash->length & 7);
        if (used == 0 && count >= 8) {
            uint64_t word;
            memcpy(&word, at, 8);
            hash->value = (hash->value ^ word) * 0xd6e8feb86659fd93u;
            hash->value ^= hash->value >> 32;
            at += 8, count -= 8, hash->length += 8;
            continue;
        }
        hash->partial |= (uint64_t)*at++ << (8 * used);
        count--;
        if ((++hash->length & 7) == 0) {
            hash->value = (hash->value ^ hash->partial) * 0xd6e8feb86659fd93u;
            hash->value ^= hash->value >> 32;
            hash->partial = 0;
        }
    }
}

uint64_t cbench_hash_end(const struct cbench_hash *hash) { return stir(hash->value ^ stir(hash->partial) ^ hash->length); }

uint64_t cbench_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return stir(a + 3 * stir(b + 5 * stir(c + 7 * stir(d + 11))));
}

uint64_t cbench_metadata(uint64_t name, uint32_t mode, uint64_t uid, uint64_t gid, int64_t mtime_seconds) {
    return cbench_mix(name, mode & 07777, uid << 32 | gid, (uint64_t)mtime_seconds);
}

static uint64_t hash_of(const void *bytes, size_t count) {
    struct cbench_hash hash = {0};
    cbench_hash_add(&hash, bytes, count);
    return cbench_hash_end(&hash);
}

/// An inode with several names.
struct seen_inode {
    dev_t device;
    ino_t inode;
    uint64_t content;
};

/// The walk: the path from the root is kept in one growing buffer; inodes with several names in one growing list.
struct walk {
    struct cbench_tree *tree;
    int reads;
    char *path;
    size_t capacity, seen_count, seen_capacity;
    struct seen_inode *seen;
    unsigned char *buffer;
};

enum { BUFFER = 1 << 20 };

/// Whether an inode with several names was met before; remembers it. O(n) in such inodes only, newest first.
static long find_inode(struct walk *walk, const struct stat *status) {
    for (size_t i = walk->seen_count; i-- > 0;)
        if (walk->seen[i].inode == status->st_ino && walk->seen[i].device == status->st_dev) return (long)i;
    return -1;
}

static int remember(struct walk *walk, const struct stat *status, uint64_t content) {
    if (walk->seen_count == walk->seen_capacity) {
        size_t capacity = walk->seen_capacity ? walk->seen_capacity * 2 : 64;
        void *grown = realloc(walk->seen, capacity * sizeof *walk->seen);
        if (!grown) return -ENOMEM;
        walk->seen = grown;
        walk->seen_capacity = capacity;
    }
    walk->seen[walk->seen_count].device = status->st_dev;
    walk->seen[walk->seen_count].inode = status->st_ino;
    walk->seen[walk->seen_count++].content = content;
    return 0;
}

static int file_content(struct walk *walk, int directory, const char *name, uint64_t *content) {
    struct cbench_hash hash = {0};
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return -errno;
    ssize_t count;
    while ((count = read(file, walk->buffer, BUFFER)) > 0) cbench_hash_add(&hash, walk->buffer, (size_t)count);
    int result = count < 0 ? -errno : 0;
    close(file);
    *content = cbench_hash_end(&hash);
    return result;
}

/// The number that stands for what an entry holds.
static int content_of(struct walk *walk, int directory, const char *name, const struct stat *status, uint64_t *content) {
    *content = 0;
    if (S_ISREG(status->st_mode) && walk->reads) return file_content(walk, directory, name, content);
    if (S_ISLNK(status->st_mode)) {
        ssize_t count = readlinkat(directory, name, (char *)walk->buffer, BUFFER);
        if (count < 0) return -errno;
        *content = hash_of(walk->buffer, (size_t)count);
    } else if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) {
        *content = cbench_mix(major(status->st_rdev), minor(status->st_rdev), 0, 0);
    }
    return 0;
}

static int visit(struct walk *walk, int directory, const char *name, size_t length, const struct stat *status) {
    struct cbench_tree *tree = walk->tree;
    uint64_t content = 0, path = hash_of(walk->path, length);
    long known = !S_ISDIR(status->st_mode) && status->st_nlink > 1 ? find_inode(walk, status) : -1;
    if (known >= 0) {
        content = walk->seen[known].content;
    } else {
        int result = content_of(walk, directory, name, status, &content);
        if (result == 0 && !S_ISDIR(status->st_mode) && status->st_nlink > 1) result = remember(walk, status, content);
        if (result) return result;
        tree->blocks += (uint64_t)status->st_blocks;
        tree->apparent += (uint64_t)status->st_size;
        tree->inodes++;
        if (!S_ISDIR(status->st_mode)) tree->unique_bytes += (uint64_t)status->st_size;
    }
    tree->entries++;
    if (S_ISDIR(status->st_mode)) tree->directories++;
    if (S_ISREG(status->st_mode)) {
        tree->files++;
        tree->bytes += (uint64_t)status->st_size;
    }
    tree->names += cbench_mix(path, (status->st_mode & S_IFMT) >> 12, 0, 0);
    tree->contents += cbench_mix(path, content, S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0, 1);
    tree->metadata += cbench_metadata(path, status->st_mode, status->st_uid, status->st_gid, status->st_mtim.tv_sec);
    return 0;
}

static int walk_directory(struct walk *walk, int descriptor, size_t length) {
    DIR *listing = fdopendir(descriptor);
    if (!listing) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(listing))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        size_t count = strlen(entry->d_name), start = length ? length + 1 : 0, end = start + count;
        if (end + 1 > walk->capacity) {
            size_t capacity = (end + 1) * 2;
            char *grown = realloc(walk->path, capacity);
            if (!grown) return closedir(listing), -ENOMEM;
            walk->path = grown;
            walk->capacity = capacity;
        }
        if (length) walk->path[length] = '/';
        memcpy(walk->path + start, entry->d_name, count + 1);
        struct stat status;
        if (fstatat(dirfd(listing), entry->d_name, &status, AT_SYMLINK_NOFOLLOW)) {
            result = -errno;
        } else if (!S_ISSOCK(status.st_mode)) {  // no layer has sockets
            result = visit(walk, dirfd(listing), entry->d_name, end, &status);
            if (result == 0 && S_ISDIR(status.st_mode)) {
                int child = openat(dirfd(listing), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                result = child < 0 ? -errno : walk_directory(walk, child, end);
            }
        }
        if (result == 0) errno = 0;
    }
    if (result == 0 && errno) result = -errno;
    closedir(listing);
    return result;
}

int cbench_tree_summary(const char *path, int reads, struct cbench_tree *result) {
    memset(result, 0, sizeof *result);
    struct walk walk = {.tree = result, .reads = reads, .buffer = malloc(BUFFER)};
    if (!walk.buffer) return -ENOMEM;
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), outcome = root < 0 ? -errno : 0;
    struct stat status;
    if (root >= 0 && fstat(root, &status) == 0) {
        result->blocks = (uint64_t)status.st_blocks;
        result->apparent = (uint64_t)status.st_size;
        result->inodes = 1;
        outcome = walk_directory(&walk, root, 0);
    }
    free(walk.buffer);
    free(walk.path);
    free(walk.seen);
    return outcome;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)status, (void)place;
    if (remove(path) == 0 || errno != EACCES) return 0;
    // What a directory's mode forbids its owner, its owner can allow.
    if (kind == FTW_DP && chmod(path, 0700) == 0) remove(path);
    return 0;
}

int cbench_remove_tree(const char *path) {
    return nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) ? -errno : 0;
}
