/* libldiff from C: writes a layer in three ways, applies it in three, lists, measures, keeps it in a store; and what goes wrong. */
#include <fcntl.h>
#include <ldiff.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

/* Fails with the error's own words. */
static void good(int code, const ldiff_error *error)
{
    if (code == 0 && error == NULL) return;
    fprintf(stderr, "%d: %s\n", code, error ? ldiff_error_message(error) : "no error");
    exit(1);
}

/* The arguments of a call are evaluated in any order: the error is looked at after it. */
#define GOOD(call) \
    do { \
        int code_ = (call); \
        good(code_, error); \
    } while (0)

struct memory {
    unsigned char *bytes;
    size_t count, position, piece;
    int fails;
};

static int take(void *user, const void *bytes, size_t count)
{
    struct memory *memory = user;
    if (memory->fails) return 7;
    memory->bytes = realloc(memory->bytes, memory->count + count);
    memcpy(memory->bytes + memory->count, bytes, count);
    memory->count += count;
    return 0;
}

static int give(void *user, void *buffer, size_t capacity, size_t *count)
{
    struct memory *memory = user;
    size_t left = memory->count - memory->position;
    if (memory->fails && memory->position > 0) return 9;
    *count = left < capacity ? left : capacity;
    if (memory->piece && *count > memory->piece) *count = memory->piece;
    memcpy(buffer, memory->bytes + memory->position, *count);
    memory->position += *count;
    return 0;
}

static int change(void *user, int kind, const uint8_t *path, size_t count)
{
    char *text = user;
    sprintf(text + strlen(text), "%c %.*s\n", kind, (int)count, (const char *)path);
    return 0;
}

static int line(void *user, const char *text)
{
    strcat(user, text);
    strcat(user, "\n");
    return 0;
}

static int calls;
static int watch(void *user, const ldiff_progress *progress)
{
    (void)user;
    CHECK(progress->struct_size == sizeof *progress);
    calls++;
    return 5;
}

static ldiff_cancel *from_signal;
static void on_alarm(int number)
{
    (void)number;
    ldiff_cancel_set(from_signal);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static size_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (size_t)status.st_size : 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && chdir(argv[1]) == 0);
    CHECK(ldiff_version_number() == LDIFF_VERSION_NUMBER);
    char version[32];
    sprintf(version, "%d.%d.%d", LDIFF_VERSION_MAJOR, LDIFF_VERSION_MINOR, LDIFF_VERSION_PATCH);
    CHECK(strcmp(ldiff_version_string(), version) == 0);

    CHECK(mkdir("tree", 0755) == 0);
    write_file("tree/a", "hello");
    write_file("tree/b", "world");

    ldiff_error *error = NULL;
    ldiff_report *report = NULL;
    ldiff_diff_options diff = LDIFF_DIFF_OPTIONS_INIT;
    diff.upper = "tree";
    diff.compression = LDIFF_COMPRESSION_GZIP;
    diff.flags = LDIFF_FLAG_DIGESTS;
    GOOD(ldiff_diff_file(&diff, "layer.tar.gz", &report, &error));
    char digest[80], diff_id[80];
    strcpy(digest, ldiff_report_digest(report));
    strcpy(diff_id, ldiff_report_diff_id(report));
    CHECK(strstr(ldiff_report_json(report), "\"entries\":2") != NULL);
    CHECK(strstr(ldiff_report_json(report), digest) != NULL);
    ldiff_report_free(report);

    int fd = open("second", O_WRONLY | O_CREAT, 0644);
    GOOD(ldiff_diff_fd(&diff, fd, &report, NULL));
    CHECK(close(fd) == 0);
    CHECK(strcmp(digest, ldiff_report_digest(report)) == 0);
    ldiff_report_free(report);
    CHECK(size_of("second") == size_of("layer.tar.gz"));

    struct memory memory = {0};
    diff.user = &memory;
    GOOD(ldiff_diff_callback(&diff, take, NULL, &error));
    CHECK(memory.count == size_of("second"));

    ldiff_apply_options apply = LDIFF_APPLY_OPTIONS_INIT;
    apply.expected_digest = digest;
    apply.expected_diff_id = diff_id;
    GOOD(ldiff_apply_file(&apply, "layer.tar.gz", "one", &report, &error));
    CHECK(strstr(ldiff_report_json(report), "\"created\":true") != NULL);
    ldiff_report_free(report);
    fd = open("second", O_RDONLY);
    GOOD(ldiff_apply_fd(&apply, fd, "two", NULL, &error));
    close(fd);
    memory.piece = 3;
    apply.user = &memory;
    GOOD(ldiff_apply_callback(&apply, give, "three", NULL, &error));
    CHECK(size_of("three/a") == 5);

    /* What changed. */
    write_file("three/c", "new");
    CHECK(unlink("three/b") == 0);
    const char *lowers[] = {"tree"};
    char list[1000] = "";
    ldiff_diff_options compared = LDIFF_DIFF_OPTIONS_INIT;
    compared.upper = "three";
    compared.lowers = lowers;
    compared.lower_count = 1;
    compared.user = list;
    GOOD(ldiff_changes(&compared, change, &error));
    CHECK(strcmp(list, "D /b\nA /c\n") == 0);
    ldiff_sizes sizes = LDIFF_SIZES_INIT;
    GOOD(ldiff_size(&compared, &sizes, &error));
    CHECK(sizes.content_bytes == 3 && sizes.entries >= 1);

    /* Errors: code, words, path; nothing is left. */
    diff.upper = "nowhere";
    CHECK(ldiff_diff_file(&diff, "none", &report, &error) == LDIFF_E_NOT_FOUND && report == NULL);
    CHECK(ldiff_error_code(error) == LDIFF_E_NOT_FOUND);
    CHECK(strstr(ldiff_error_message(error), "nowhere") != NULL);
    size_t count = 0;
    CHECK(memcmp(ldiff_error_path(error, &count), "nowhere", 7) == 0 && count == 7);
    ldiff_error_free(error);
    CHECK(access("none", F_OK) != 0);
    diff.upper = "tree";
    memory.fails = 1;
    CHECK(ldiff_diff_callback(&diff, take, NULL, NULL) == LDIFF_E_CALLBACK);
    memory.position = 0;
    CHECK(ldiff_apply_callback(&apply, give, "four", NULL, NULL) == LDIFF_E_CALLBACK);
    CHECK(access("four", F_OK) != 0);
    apply.expected_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    CHECK(ldiff_apply_file(&apply, "layer.tar.gz", "four", NULL, &error) == LDIFF_E_DIGEST_MISMATCH);
    CHECK(access("four", F_OK) != 0);
    ldiff_error_free(error);
    diff.struct_size = 3;
    CHECK(ldiff_diff_file(&diff, "none", NULL, NULL) == LDIFF_E_INVALID_ARGUMENT);
    CHECK(ldiff_diff_file(NULL, "none", NULL, NULL) == LDIFF_E_INVALID_ARGUMENT);
    diff.struct_size = sizeof diff;
    diff.profile = 99;
    CHECK(ldiff_diff_file(&diff, "none", NULL, NULL) == LDIFF_E_INVALID_ARGUMENT);

    /* Stopped by a signal, and by the one who watches, while it waits for a pipe. */
    int pipe_ends[2];
    CHECK(pipe(pipe_ends) == 0);
    ldiff_apply_options waiting = LDIFF_APPLY_OPTIONS_INIT;
    waiting.cancel = from_signal = ldiff_cancel_new();
    signal(SIGALRM, on_alarm);
    alarm(1);
    CHECK(ldiff_apply_fd(&waiting, pipe_ends[0], "five", NULL, NULL) == LDIFF_E_CANCELLED);
    ldiff_cancel_free(from_signal);
    waiting.cancel = NULL;
    waiting.progress = watch;
    CHECK(ldiff_apply_fd(&waiting, pipe_ends[0], "five", NULL, NULL) == LDIFF_E_CALLBACK);
    CHECK(calls == 1 && access("five", F_OK) != 0);

    /* A store. */
    ldiff_store *store = NULL;
    CHECK(ldiff_store_open("store", "nosuch", NULL, 0, &store, NULL) == LDIFF_E_INVALID_ARGUMENT && store == NULL);
    char home[4096];
    CHECK(getcwd(home, sizeof home - 20) != NULL);
    strcat(home, "/overlay2");
    GOOD(ldiff_store_open(home, "overlay2", NULL, 0, &store, &error));
    GOOD(ldiff_store_apply_file(store, "base", NULL, NULL, "layer.tar.gz", NULL, &error));
    GOOD(ldiff_store_create(store, "top", "base", 1, &error));
    ldiff_mount *mount = NULL;
    GOOD(ldiff_store_mount(store, "top", &mount, &error));
    char path[4200];
    sprintf(path, "%s/c", ldiff_mount_path(mount));
    write_file(path, "in the container");
    GOOD(ldiff_store_unmount(mount, &error));
    uint64_t bytes = 0;
    GOOD(ldiff_store_size(store, "top", NULL, NULL, &bytes, &error));
    CHECK(bytes == 16);
    compared.user = list;
    list[0] = 0;
    GOOD(ldiff_store_changes(store, "top", NULL, &compared, change, &error));
    CHECK(strcmp(list, "A /c\n") == 0);
    list[0] = 0;
    GOOD(ldiff_store_list(store, line, list, &error));
    CHECK(strcmp(list, "base\ntop\n") == 0);
    GOOD(ldiff_store_diff_file(store, "top", NULL, NULL, "top.tar", NULL, &error));
    CHECK(size_of("top.tar") > 0);
    list[0] = 0;
    GOOD(ldiff_store_check(store, 0, line, list, &error));
    CHECK(list[0] == 0);
    GOOD(ldiff_store_remove(store, "top", &error));
    CHECK(ldiff_store_exists(store, "top") == 0 && ldiff_store_exists(store, "base") == 1);
    ldiff_store_close(store);
    GOOD(ldiff_store_read(home, "overlay2", NULL, 0, &store, &error));
    CHECK(ldiff_store_remove(store, "base", NULL) == LDIFF_E_NOT_PERMITTED);
    ldiff_store_close(store);

    free(memory.bytes);
    puts("libldiff from C: passed");
    return 0;
}
