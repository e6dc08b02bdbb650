/* Counts the file-system calls of a process below one folder, and lets one of them fail, or kills the process there.
 *
 * Loaded by LD_PRELOAD, it does nothing until `fault_arm` is called, which a forked child does through ctypes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILL (-1)

static char below[4096];
static size_t length;
static long counted, place, owner;
static int failure, log_to = -1;

/* Count calls on paths below `folder` (none of children that are forked later) from now on; at the call number `at`
 * fail with the error `code`, or kill the process.  A disk that is full stays full.  Write each call to `log`. */
void fault_arm(const char *folder, long at, int code, int log) {
    strncpy(below, folder, sizeof below - 1);
    length = strlen(below);
    counted = 0, place = at, failure = code, log_to = log;
    owner = syscall(SYS_getpid);
}

static int is_below(const char *path) {
    return !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

static int of_handle(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path);
}

/* Whether this call is to fail; `errno` is set then. */
static int fails(const char *name, int dir, const char *path, int fd, int writes) {
    char found[8192], folder[4096];
    if (!length || syscall(SYS_getpid) != owner) return 0;
    if (path) {
        if (path[0] == '/') snprintf(found, sizeof found, "%s", path);
        else {
            if (dir == AT_FDCWD) {
                if (syscall(SYS_getcwd, folder, sizeof folder) < 0) return 0;
            } else if (!of_handle(dir, folder, sizeof folder)) return 0;
            snprintf(found, sizeof found, "%s/%s", folder, path);
        }
        if (!is_below(found)) return 0;
    } else if (!of_handle(fd, found, sizeof found)) return 0;
    long number = counted++;
    if (log_to >= 0) {
        char line[8400];
        int n = snprintf(line, sizeof line, "%ld %s %d %s\n", number, name, writes, found + length);
        syscall(SYS_write, log_to, line, n);
    }
    if (place < 0 || number < place) return 0;
    if (number > place && !(failure == ENOSPC && writes)) return 0;
    if (failure == KILL) syscall(SYS_kill, owner, SIGKILL);
    errno = failure;
    return 1;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define CREATES(flags) (((flags) & O_CREAT) || ((flags) & O_TRUNC))
#define NEEDS_MODE(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (NEEDS_MODE(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        REAL(int, #name, const char *, int, ...); \
        return fails("open", AT_FDCWD, path, 0, CREATES(flags)) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (NEEDS_MODE(flags)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        REAL(int, #name, int, const char *, int, ...); \
        return fails("open", dir, path, 0, CREATES(flags)) ? -1 : real(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, #name, const char *, const char *); \
        return fails("open", AT_FDCWD, path, 0, mode[0] != 'r') ? NULL : real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    return fails("opendir", AT_FDCWD, path, 0, 0) ? NULL : real(path);
}

/* Calls on an open file, on a path, on a path below a folder, and on two paths. */
#define HANDLE(type, name, word, writes, types, args) \
    type name types { REAL(type, #name, HANDLE_TYPES_##name); return fails(word, 0, NULL, fd, writes) ? -1 : real args; }
#define HANDLE_TYPES_write int, const void *, size_t
#define HANDLE_TYPES_pwrite int, const void *, size_t, off_t
#define HANDLE_TYPES_pwrite64 int, const void *, size_t, off64_t
#define HANDLE_TYPES_writev int, const struct iovec *, int
#define HANDLE_TYPES_read int, void *, size_t
#define HANDLE_TYPES_pread int, void *, size_t, off_t
#define HANDLE_TYPES_pread64 int, void *, size_t, off64_t
#define HANDLE_TYPES_fsync int
#define HANDLE_TYPES_fdatasync int
#define HANDLE_TYPES_ftruncate int, off_t
#define HANDLE_TYPES_ftruncate64 int, off64_t
#define HANDLE_TYPES_flock int, int
#define HANDLE_TYPES_fchmod int, mode_t
HANDLE(ssize_t, write, "write", 1, (int fd, const void *data, size_t n), (fd, data, n))
HANDLE(ssize_t, pwrite, "write", 1, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at))
HANDLE(ssize_t, pwrite64, "write", 1, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at))
HANDLE(ssize_t, writev, "write", 1, (int fd, const struct iovec *parts, int n), (fd, parts, n))
HANDLE(ssize_t, read, "read", 0, (int fd, void *data, size_t n), (fd, data, n))
HANDLE(ssize_t, pread, "read", 0, (int fd, void *data, size_t n, off_t at), (fd, data, n, at))
HANDLE(ssize_t, pread64, "read", 0, (int fd, void *data, size_t n, off64_t at), (fd, data, n, at))
HANDLE(int, fsync, "fsync", 1, (int fd), (fd))
HANDLE(int, fdatasync, "fsync", 1, (int fd), (fd))
HANDLE(int, ftruncate, "truncate", 1, (int fd, off_t size), (fd, size))
HANDLE(int, ftruncate64, "truncate", 1, (int fd, off64_t size), (fd, size))
HANDLE(int, flock, "flock", 0, (int fd, int how), (fd, how))
HANDLE(int, fchmod, "chmod", 0, (int fd, mode_t mode), (fd, mode))

#define PATH(name, word, writes, more_types, types, args) \
    int name types { REAL(int, #name, const char * more_types); \
        return fails(word, AT_FDCWD, path, 0, writes) ? -1 : real args; }
#define NO_MORE
#define MODE_MORE , mode_t
#define STAT_MORE , struct stat *
#define STAT64_MORE , struct stat64 *
#define INT_MORE , int
PATH(unlink, "unlink", 0, NO_MORE, (const char *path), (path))
PATH(rmdir, "unlink", 0, NO_MORE, (const char *path), (path))
PATH(mkdir, "mkdir", 1, MODE_MORE, (const char *path, mode_t mode), (path, mode))
PATH(chmod, "chmod", 0, MODE_MORE, (const char *path, mode_t mode), (path, mode))
PATH(access, "stat", 0, INT_MORE, (const char *path, int mode), (path, mode))
PATH(stat, "stat", 0, STAT_MORE, (const char *path, struct stat *info), (path, info))
PATH(lstat, "stat", 0, STAT_MORE, (const char *path, struct stat *info), (path, info))
PATH(stat64, "stat", 0, STAT64_MORE, (const char *path, struct stat64 *info), (path, info))
PATH(lstat64, "stat", 0, STAT64_MORE, (const char *path, struct stat64 *info), (path, info))

int unlinkat(int dir, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return fails("unlink", dir, path, 0, 0) ? -1 : real(dir, path, flags);
}
int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    return fails("mkdir", dir, path, 0, 1) ? -1 : real(dir, path, mode);
}
int rename(const char *path, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails("rename", AT_FDCWD, to, 0, 1) ? -1 : real(path, to);
}
int renameat(int dir, const char *path, int to_dir, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return fails("rename", to_dir, to, 0, 1) ? -1 : real(dir, path, to_dir, to);
}
int renameat2(int dir, const char *path, int to_dir, const char *to, unsigned int flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned int);
    return fails("rename", to_dir, to, 0, 1) ? -1 : real(dir, path, to_dir, to, flags);
}
int link(const char *path, const char *to) {
    REAL(int, "link", const char *, const char *);
    return fails("link", AT_FDCWD, to, 0, 1) ? -1 : real(path, to);
}
int symlink(const char *path, const char *to) {
    REAL(int, "symlink", const char *, const char *);
    return fails("link", AT_FDCWD, to, 0, 1) ? -1 : real(path, to);
}
int close(int fd) {
    REAL(int, "close", int);
    int failed = fails("close", 0, NULL, fd, 0), kept = errno;
    int done = real(fd);
    if (!failed) return done;
    errno = kept;
    return -1;
}
