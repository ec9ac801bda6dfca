/*
 * A simulated libcuda.so.1: exactly the driver's entry points that nbd's parking uses, for real pids of real processes, played from two text files.
 *
 * NBD_SIMULATED_GPUS is the box (see nvml.c). A process that is on a card there has a CUDA context. Its checkpoint takes it off its cards and off
 * their used bytes; its restore puts it back, on the same cards or on others of the same name, and is refused where they have no room.
 * NBD_SIMULATED_CUDA says how things are and what goes wrong. It is read and written under a lock (its name and ".lock"), so it outlives the
 * process that calls, as the driver does. One word and its values a line; a pid that is not given means every process:
 *
 *   driver 13000                  the CUDA version
 *   error checkpoint 801 4711     this call fails with that CUresult: init, state, lock, checkpoint, restore, unlock
 *   once restore 2 4711           the same, and then the line goes
 *   after checkpoint 801 4711     the call does its work and fails all the same; then the line goes
 *   ruin checkpoint 801 4711      it fails and leaves the process in the state "failed"; then the line goes
 *   hang lock 4711                the call hangs until the file no longer says so; nothing has happened then
 *   slow restore 300              it takes so many milliseconds
 *   busy 4711                     its work does not end: a lock waits for it until its time is over
 *   state 4711 2                  CUprocessState: 0 running, 1 locked, 2 checkpointed, 3 failed
 *   kept 4711 GPU-... 1073741824  so much of that card is in host memory
 *   call checkpoint 4711          what was called, oldest first; also while it hangs or is slow
 */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, ILLEGAL_STATE = 401, NOT_READY = 600 };
enum { RUNNING, LOCKED, CHECKPOINTED, FAILED };
enum { MAX_LINES = 1024, TEXT = 192, WORD = 96, MAX_CARDS = 16, NAP_NANOSECONDS = 5000000 };
#define API __attribute__((visibility("default")))

typedef struct { int count; char lines[MAX_LINES][TEXT]; } File;
typedef struct { unsigned char bytes[16]; } Uuid;
typedef struct { Uuid old_uuid, new_uuid; } Pair;
typedef struct { unsigned timeout_ms; char reserved[60]; } LockArgs;
typedef struct { Pair *pairs; unsigned pair_count; char reserved[52]; } RestoreArgs;
typedef struct { char card[WORD]; long long bytes; } Share;

static File state, box;
static int lock_file = -1;

static int read_file(const char *variable, File *file) {
    const char *path = getenv(variable);
    FILE *stream = path ? fopen(path, "r") : NULL;
    file->count = 0;
    if (!stream) return 0;
    while (file->count < MAX_LINES && fgets(file->lines[file->count], TEXT, stream)) {
        file->lines[file->count][strcspn(file->lines[file->count], "\n")] = '\0';
        file->count++;
    }
    fclose(stream);
    return 1;
}

static void write_file(const char *variable, const File *file) {
    char fresh[4096];
    const char *path = getenv(variable);
    snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
    FILE *stream = fopen(fresh, "w");
    if (!stream) return;
    for (int i = 0; i < file->count; i++) fprintf(stream, "%s\n", file->lines[i]);
    fclose(stream);
    rename(fresh, path);
}

static void add(File *file, const char *line) {
    if (file->count < MAX_LINES) snprintf(file->lines[file->count++], TEXT, "%s", line);
}

static void drop(File *file, int line) {
    memmove(file->lines[line], file->lines[line + 1], (size_t)(file->count - line - 1) * TEXT);
    file->count--;
}

static void take_lock(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s.lock", getenv("NBD_SIMULATED_CUDA"));
    lock_file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (lock_file >= 0) flock(lock_file, LOCK_EX);
}

static void let_go(void) {
    if (lock_file >= 0) close(lock_file);
    lock_file = -1;
}

static void nap(long long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* The number of the line "WORD CALL CODE [PID]" that is about this call, or -1. */
static int line_about(const char *word, const char *call, int pid, int *code) {
    for (int i = 0; i < state.count; i++) {
        char found[WORD] = "", function[WORD] = "";
        int value = 0, whose = 0;
        int given = sscanf(state.lines[i], "%95s %95s %d %d", found, function, &value, &whose);
        if (strcmp(found, word) || strcmp(function, call)) continue;
        if (!strcmp(word, "hang")) whose = value, given = value ? 4 : 3;
        if (given < 4 || whose == pid) { *code = value; return i; }
    }
    return -1;
}

static int state_line(int pid) {
    for (int i = 0; i < state.count; i++) {
        int whose, value;
        if (sscanf(state.lines[i], "state %d %d", &whose, &value) == 2 && whose == pid) return i;
    }
    return -1;
}

static void put_state(int pid, int value) {
    char line[TEXT];
    int at = state_line(pid);
    if (at >= 0) drop(&state, at);
    snprintf(line, sizeof line, "state %d %d", pid, value);
    add(&state, line);
}

static int on_a_card(int pid) {
    for (int i = 0; i < box.count; i++) {
        int whose;
        if (sscanf(box.lines[i], " process %d", &whose) == 1 && whose == pid) return 1;
    }
    return 0;
}

/* -1: it has no CUDA context, or is gone. */
static int state_of(int pid) {
    int at = state_line(pid), whose, value = RUNNING;
    if (kill(pid, 0)) return -1;
    if (at < 0) return on_a_card(pid) ? RUNNING : -1;
    sscanf(state.lines[at], "state %d %d", &whose, &value);
    return value;
}

static int busy(int pid) {
    for (int i = 0; i < state.count; i++) {
        int whose;
        if (sscanf(state.lines[i], "busy %d", &whose) == 1 && whose == pid) return 1;
    }
    return 0;
}

/* The lines of one card: from its "card" line to before the next one. */
static int card_range(const char *uuid, int *from, int *to) {
    *from = -1;
    for (int i = 0; i < box.count; i++) {
        char found[WORD];
        if (sscanf(box.lines[i], " card %95s", found) != 1) continue;
        if (*from >= 0) { *to = i; return 1; }
        if (!strcmp(found, uuid)) *from = i;
    }
    *to = box.count;
    return *from >= 0;
}

static long long number_of(int from, int to, const char *word, int *line) {
    for (int i = from; i < to; i++) {
        char found[WORD];
        long long value;
        if (sscanf(box.lines[i], " %95s %lld", found, &value) == 2 && !strcmp(found, word)) { *line = i; return value; }
    }
    *line = -1;
    return -1;
}

static void change_used(const char *uuid, long long by) {
    int from, to, line;
    if (!card_range(uuid, &from, &to)) return;
    long long used = number_of(from, to, "used", &line);
    if (line >= 0) snprintf(box.lines[line], TEXT, "used %lld", used + by > 0 ? used + by : 0);
}

static void leave_cards(int pid) {
    char card[WORD] = "", line[TEXT];
    for (int i = 0; i < box.count; i++) {
        int whose;
        long long bytes = 0;
        sscanf(box.lines[i], " card %95s", card);
        if (sscanf(box.lines[i], " process %d %lld", &whose, &bytes) < 1 || whose != pid) continue;
        drop(&box, i--);
        change_used(card, -bytes);
        snprintf(line, sizeof line, "kept %d %s %lld", pid, card, bytes);
        add(&state, line);
    }
}

static Uuid uuid_of(const char *text) {
    Uuid uuid = {{0}};
    int digits = 0;
    for (text += strncmp(text, "GPU-", 4) ? 0 : 4; *text && digits < 32; text++) {
        if (*text == '-') continue;
        int digit = *text <= '9' ? *text - '0' : (*text | 32) - 'a' + 10;
        uuid.bytes[digits / 2] |= (unsigned char)(digit << (digits % 2 ? 0 : 4));
        digits++;
    }
    return uuid;
}

static int same(Uuid one, Uuid other) { return !memcmp(one.bytes, other.bytes, sizeof one.bytes); }

/* Where what was on `card` goes; 0 where it cannot go there. */
static int destination(const char *card, const RestoreArgs *args, char *to) {
    int from, end;
    snprintf(to, WORD, "%s", card);
    if (!args || !args->pair_count) return card_range(card, &from, &end);
    for (unsigned i = 0; i < args->pair_count; i++) {
        if (!same(args->pairs[i].old_uuid, uuid_of(card))) continue;
        for (int line = 0; line < box.count; line++) {
            char found[WORD];
            if (sscanf(box.lines[line], " card %95s", found) == 1 && same(args->pairs[i].new_uuid, uuid_of(found))) {
                snprintf(to, WORD, "%s", found);
                return 1;
            }
        }
    }
    return 0;
}

static int name_of(const char *card, char *name) {
    int from, to;
    *name = '\0';
    for (int i = card_range(card, &from, &to) ? from : (to = 0); i < to; i++)
        if (!strncmp(box.lines[i], "name ", 5)) snprintf(name, TEXT, "%s", box.lines[i]);
    return *name;
}

static int return_to_cards(int pid, const RestoreArgs *args) {
    Share shares[MAX_CARDS];
    int count = 0, line;
    for (int i = 0; i < state.count && count < MAX_CARDS; i++) {
        int whose, from, to;
        char card[WORD], before[TEXT], after[TEXT];
        long long bytes;
        if (sscanf(state.lines[i], "kept %d %95s %lld", &whose, card, &bytes) != 3 || whose != pid) continue;
        if (!destination(card, args, shares[count].card)) return INVALID_VALUE;
        name_of(card, before);
        name_of(shares[count].card, after);
        if (strcmp(before, after) && strcmp(card, shares[count].card)) return INVALID_VALUE;
        card_range(shares[count].card, &from, &to);
        long long memory = number_of(from, to, "memory", &line), used = number_of(from, to, "used", &line);
        if (memory >= 0 && memory - used < bytes) return OUT_OF_MEMORY;
        shares[count++].bytes = bytes;
    }
    for (int i = 0; i < count; i++) {
        int from, to;
        char text[TEXT];
        snprintf(text, sizeof text, "process %d %lld", pid, shares[i].bytes);
        change_used(shares[i].card, shares[i].bytes);
        card_range(shares[i].card, &from, &to);
        add(&box, "");
        memmove(box.lines[from + 2], box.lines[from + 1], (size_t)(box.count - from - 2) * TEXT);
        snprintf(box.lines[from + 1], TEXT, "%s", text);
    }
    for (int i = 0; i < state.count; i++) {
        int whose;
        if (sscanf(state.lines[i], "kept %d", &whose) == 1 && whose == pid) drop(&state, i--);
    }
    return SUCCESS;
}

static void look(void) {
    take_lock();
    read_file("NBD_SIMULATED_CUDA", &state);
    read_file("NBD_SIMULATED_GPUS", &box);
}

static int done(int code) {
    write_file("NBD_SIMULATED_CUDA", &state);
    let_go();
    return code;
}

/* Every entry point begins here, and holds the lock when it is told to go on (-1). */
static int enter(const char *call, int pid) {
    char line[TEXT];
    int code, at, ignored, waited = 0;
    look();
    if (strcmp(call, "state") && strcmp(call, "init")) {
        snprintf(line, sizeof line, "call %s %d", call, pid);
        add(&state, line);
    }
    done(SUCCESS);
    for (;;) {
        look();
        if (!waited && (at = line_about("slow", call, 0, &code)) >= 0) waited = code;
        else if (line_about("hang", call, pid, &ignored) < 0) break;
        else waited = NAP_NANOSECONDS / 1000000;
        let_go();
        nap(waited);
    }
    if (line_about("error", call, pid, &code) >= 0) return done(code);
    if ((at = line_about("once", call, pid, &code)) >= 0) { drop(&state, at); return done(code); }
    if ((at = line_about("ruin", call, pid, &code)) >= 0) { drop(&state, at); put_state(pid, FAILED); return done(code); }
    return -1;
}

static int leave(const char *call, int pid) {
    int code, at = line_about("after", call, pid, &code);
    if (at < 0) return done(SUCCESS);
    drop(&state, at);
    return done(code);
}

/* What every action begins with: the process is in the state that it wants. */
#define ENTER(call, wanted) do { int code = enter(call, pid); if (code >= 0) return code; int now = state_of(pid); if (now < 0) return done(NOT_INITIALIZED); if (now != (wanted)) return done(ILLEGAL_STATE); } while (0)

API int cuInit(unsigned flags) {
    (void)flags;
    int code = enter("init", 0);
    return code >= 0 ? code : done(box.count ? SUCCESS : NO_DEVICE);
}

API int cuDriverGetVersion(int *version) {
    look();
    *version = 13000;
    for (int i = 0; i < state.count; i++) sscanf(state.lines[i], "driver %d", version);
    let_go();
    return SUCCESS;
}

API int cuGetErrorName(int code, const char **name) {
    static const struct { int code; const char *name; } names[] = {
        {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {3, "CUDA_ERROR_NOT_INITIALIZED"}, {100, "CUDA_ERROR_NO_DEVICE"},
        {304, "CUDA_ERROR_OPERATING_SYSTEM"}, {401, "CUDA_ERROR_ILLEGAL_STATE"}, {600, "CUDA_ERROR_NOT_READY"},
        {800, "CUDA_ERROR_NOT_PERMITTED"}, {801, "CUDA_ERROR_NOT_SUPPORTED"}, {999, "CUDA_ERROR_UNKNOWN"},
    };
    *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code) *name = names[i].name;
    return *name ? SUCCESS : INVALID_VALUE;
}

API int cuCheckpointProcessGetState(int pid, int *value) {
    int code = enter("state", pid);
    if (code >= 0) return code;
    int now = state_of(pid);
    let_go();
    *value = now;
    return now < 0 ? NOT_INITIALIZED : SUCCESS;
}

API int cuCheckpointProcessLock(int pid, LockArgs *args) {
    ENTER("lock", RUNNING);
    for (unsigned waited = 0; busy(pid); waited += NAP_NANOSECONDS / 1000000) {
        if (args && args->timeout_ms && waited >= args->timeout_ms) return done(NOT_READY);
        done(SUCCESS);
        nap(NAP_NANOSECONDS / 1000000);
        look();
    }
    put_state(pid, LOCKED);
    return leave("lock", pid);
}

API int cuCheckpointProcessCheckpoint(int pid, void *args) {
    (void)args;
    ENTER("checkpoint", LOCKED);
    leave_cards(pid);
    write_file("NBD_SIMULATED_GPUS", &box);
    put_state(pid, CHECKPOINTED);
    return leave("checkpoint", pid);
}

API int cuCheckpointProcessRestore(int pid, RestoreArgs *args) {
    ENTER("restore", CHECKPOINTED);
    int code = return_to_cards(pid, args);
    if (code) return done(code);
    write_file("NBD_SIMULATED_GPUS", &box);
    put_state(pid, LOCKED);
    return leave("restore", pid);
}

API int cuCheckpointProcessUnlock(int pid, void *args) {
    (void)args;
    ENTER("unlock", LOCKED);
    put_state(pid, RUNNING);
    return leave("unlock", pid);
}
