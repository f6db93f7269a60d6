/* A malloc for LD_PRELOAD that refuses what a test says: one allocation, or all beyond a limit. Needs glibc. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_llong next = -1;    /* allocations until the one that is refused; negative: none */
static atomic_llong room = -1;    /* bytes until all are refused; negative: no limit */
static atomic_size_t least;       /* smaller allocations are never refused, nor counted */
static atomic_llong refused;
static atomic_int on;

/* Refuse one allocation of at least so many bytes: the first (0), the second (1), ... */
void refuse_one(long long which, size_t from) {
    least = from;
    refused = 0;
    next = which;
    on = 1;
}

/* Refuse every allocation of at least so many bytes once all that live take more room than this. */
void refuse_beyond(long long bytes, size_t from) {
    least = from;
    refused = 0;
    room = bytes;
    on = 2;
}

/* Refuse nothing any more; how many have been refused. */
long long refuse_none(void) {
    on = 0;
    return refused;
}

/* Whether an allocation is to be refused; `movable` says that it asks for no alignment. The linker is not refused a
   thread's variables, of which NumPy has 46 kB: it aborts without them. */
static int is_refused(size_t size, int movable, void *caller) {
    Dl_info from;
    if (on == 0 || size < least) return 0;
    if (dladdr(caller, &from) && from.dli_fname && strstr(from.dli_fname, "/ld-")) return 0;
    int now = on == 1 ? movable && atomic_fetch_sub(&next, 1) == 0 : room < (long long)size;
    refused += now;
    return now;
}

static void *given(void *memory) {
    if (on == 2 && memory) room -= malloc_usable_size(memory);
    return memory;
}

static void *none(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size) {
    return is_refused(size, 1, __builtin_return_address(0)) ? none() : given(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole)) return none();
    return is_refused(whole, 1, __builtin_return_address(0)) ? none() : given(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size) {
    if (size && is_refused(size, 1, __builtin_return_address(0))) return none();
    size_t before = on == 2 && memory ? malloc_usable_size(memory) : 0;
    void *moved = __libc_realloc(memory, size);
    if (moved) room += (long long)before;
    return given(moved);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return is_refused(size, 0, __builtin_return_address(0)) ? none() : given(__libc_memalign(alignment, size));
}

void *memalign(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *place = aligned_alloc(alignment, size);
    if (!place) return ENOMEM;
    *memory = place;
    return 0;
}

void free(void *memory) {
    if (on == 2 && memory) room += malloc_usable_size(memory);
    __libc_free(memory);
}
