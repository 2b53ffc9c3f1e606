/* A disk that fails on command, under a program that knows nothing of it (LD_PRELOAD).
 *
 * Calls on files below TIDEGATE_DISK are counted, and fail, wait or kill the process as the control file says, which is mapped
 * and may be changed at any time (TIDEGATE_DISK_CONTROL; its fields are `struct control`, all of 64 bits). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic uint64_t kill_at;   /* die at the change of this number; 0: live */
    _Atomic uint64_t kill_torn; /* die in the midst of it or behind it rather than before */
    _Atomic uint64_t per_mille; /* so many calls of a thousand fail with EIO */
    _Atomic uint64_t full;      /* what needs room fails with ENOSPC */
    _Atomic uint64_t delay_ms;  /* every change takes so long */
    _Atomic uint64_t calls;     /* made */
    _Atomic uint64_t changes;   /* of them, those that change something */
    _Atomic uint64_t failed;    /* failed by us */
};

static struct control *control;
static char prefix[4096];
static size_t prefix_length;
static _Atomic unsigned char ours[65536];

__attribute__((constructor)) static void begin(void) {
    const char *disk = getenv("TIDEGATE_DISK"), *path = getenv("TIDEGATE_DISK_CONTROL");
    if (!disk || !path || strlen(disk) >= sizeof prefix) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED) abort();
    strcpy(prefix, disk);
    prefix_length = strlen(prefix);
    control = map;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_ours(int fd) { return control && fd >= 0 && fd < 65536 && ours[fd]; }
static int is_below(int dir, const char *path) {
    if (!control || !path) return 0;
    return path[0] == '/' ? strncmp(path, prefix, prefix_length) == 0 : is_ours(dir);
}
static int note(int fd, int below) {
    if (fd >= 0 && fd < 65536) ours[fd] = (unsigned char)below;
    return fd;
}
static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

enum kind { LOOKS, CHANGES, NEEDS_ROOM };

/* Whether the call fails, and whether the process dies behind it. */
static int fails(enum kind kind, int *dies) {
    uint64_t call = ++control->calls, change = kind == LOOKS ? 0 : ++control->changes;
    *dies = 0;
    if (change && change == control->kill_at) {
        if (!control->kill_torn) die();
        *dies = 1;
    }
    uint64_t delay = change ? control->delay_ms : 0;
    if (delay) nanosleep(&(struct timespec){(time_t)(delay / 1000), (long)(delay % 1000) * 1000000}, NULL);
    uint64_t noise = call * 0x9e3779b97f4a7c15u;
    noise = (noise ^ noise >> 30) * 0xbf58476d1ce4e5b9u;
    noise = (noise ^ noise >> 27) * 0x94d049bb133111ebu;
    int error = kind == NEEDS_ROOM && control->full ? ENOSPC : (noise >> 33) % 1000 < control->per_mille ? EIO : 0;
    if (error) {
        ++control->failed;
        errno = error;
    }
    return error;
}

#define CALL(condition, kind, call)                  \
    do {                                             \
        int dies_ = 0;                               \
        if (!(condition)) return call;               \
        if (fails(kind, &dies_)) return -1;          \
        __typeof__(call) result_ = call;             \
        if (dies_) die();                            \
        return result_;                              \
    } while (0)

#define OPEN(name)                                                                        \
    int name(const char *path, int flags, ...) {                                          \
        va_list list;                                                                     \
        va_start(list, flags);                                                            \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;         \
        va_end(list);                                                                     \
        int below = is_below(AT_FDCWD, path), dies = 0;                                   \
        if (below && fails(flags & O_CREAT ? NEEDS_ROOM : LOOKS, &dies)) return -1;       \
        int fd = note(NEXT(name)(path, flags, mode), below);                              \
        if (dies) die();                                                                  \
        return fd;                                                                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                      \
    int name(int dir, const char *path, int flags, ...) {                                 \
        va_list list;                                                                     \
        va_start(list, flags);                                                            \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;         \
        va_end(list);                                                                     \
        int below = is_below(dir, path), dies = 0;                                        \
        if (below && fails(flags & O_CREAT ? NEEDS_ROOM : LOOKS, &dies)) return -1;       \
        int fd = note(NEXT(name)(dir, path, flags, mode), below);                         \
        if (dies) die();                                                                  \
        return fd;                                                                        \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    note(fd, 0);
    return NEXT(close)(fd);
}

/* A write that dies leaves its first half. */
static ssize_t torn(int fd, const void *bytes, size_t length, off64_t at) {
    if (at < 0) {
        syscall(SYS_write, fd, bytes, length / 2);
    } else {
        syscall(SYS_pwrite64, fd, bytes, length / 2, at);
    }
    die();
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int dies = 0;
    if (is_ours(fd) && fails(NEEDS_ROOM, &dies)) return -1;
    return dies ? torn(fd, bytes, length, -1) : NEXT(write)(fd, bytes, length);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    int dies = 0;
    if (is_ours(fd) && fails(NEEDS_ROOM, &dies)) return -1;
    return dies ? torn(fd, bytes, length, at) : NEXT(pwrite)(fd, bytes, length, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    int dies = 0;
    if (is_ours(fd) && fails(NEEDS_ROOM, &dies)) return -1;
    return dies ? torn(fd, bytes, length, at) : NEXT(pwrite64)(fd, bytes, length, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    CALL(is_ours(fd), NEEDS_ROOM, NEXT(writev)(fd, parts, count));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    CALL(is_ours(fd), NEEDS_ROOM, NEXT(pwritev)(fd, parts, count, at));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    CALL(is_ours(fd), NEEDS_ROOM, NEXT(pwritev64)(fd, parts, count, at));
}
ssize_t read(int fd, void *bytes, size_t length) { CALL(is_ours(fd), LOOKS, NEXT(read)(fd, bytes, length)); }
ssize_t pread(int fd, void *bytes, size_t length, off_t at) {
    CALL(is_ours(fd), LOOKS, NEXT(pread)(fd, bytes, length, at));
}
ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    CALL(is_ours(fd), LOOKS, NEXT(pread64)(fd, bytes, length, at));
}
ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    CALL(is_ours(fd), LOOKS, NEXT(preadv64v2)(fd, parts, count, at, flags));
}
int fsync(int fd) { CALL(is_ours(fd), CHANGES, NEXT(fsync)(fd)); }
int fdatasync(int fd) { CALL(is_ours(fd), CHANGES, NEXT(fdatasync)(fd)); }
int ftruncate(int fd, off_t length) { CALL(is_ours(fd), CHANGES, NEXT(ftruncate)(fd, length)); }
int ftruncate64(int fd, off64_t length) { CALL(is_ours(fd), CHANGES, NEXT(ftruncate64)(fd, length)); }
int fallocate(int fd, int mode, off_t at, off_t length) {
    CALL(is_ours(fd), NEEDS_ROOM, NEXT(fallocate)(fd, mode, at, length));
}
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    CALL(is_ours(fd), NEEDS_ROOM, NEXT(fallocate64)(fd, mode, at, length));
}
int posix_fallocate64(int fd, off64_t at, off64_t length) {
    int dies = 0, error = is_ours(fd) ? fails(NEEDS_ROOM, &dies) : 0;
    if (!error) error = NEXT(posix_fallocate64)(fd, at, length);
    if (dies) die();
    return error;
}
int rename(const char *from, const char *to) {
    CALL(is_below(AT_FDCWD, to), CHANGES, NEXT(rename)(from, to));
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    CALL(is_below(to_dir, to), CHANGES, NEXT(renameat)(from_dir, from, to_dir, to));
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    CALL(is_below(to_dir, to), CHANGES, NEXT(renameat2)(from_dir, from, to_dir, to, flags));
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    CALL(is_below(to_dir, to), CHANGES, NEXT(linkat)(from_dir, from, to_dir, to, flags));
}
int unlink(const char *path) { CALL(is_below(AT_FDCWD, path), CHANGES, NEXT(unlink)(path)); }
int unlinkat(int dir, const char *path, int flags) {
    CALL(is_below(dir, path), CHANGES, NEXT(unlinkat)(dir, path, flags));
}
int mkdir(const char *path, mode_t mode) { CALL(is_below(AT_FDCWD, path), NEEDS_ROOM, NEXT(mkdir)(path, mode)); }
int mkdirat(int dir, const char *path, mode_t mode) {
    CALL(is_below(dir, path), NEEDS_ROOM, NEXT(mkdirat)(dir, path, mode));
}
