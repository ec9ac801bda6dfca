/*
 * A simulated libnvidia-ml.so.1: exactly the NVML entry points that nbd's helper process uses, played from a text file.
 *
 * NBD_SIMULATED_GPUS names the file. It is read again at each call, so whoever rewrites it (atomically, by rename) changes the box while it
 * is being used. One word and its value a line; '#' begins a comment line; unknown words are ignored.
 *
 *   driver 550.90.07                     the version the driver says it has
 *   error nvmlInitWithFlags 9            every call of that function fails with that NVML code ("*": every function)
 *   hang nvmlDeviceGetCount_v2           every call of that function hangs until the file no longer says so
 *   card GPU-51511111-...                begins a card; what follows is about it (error and hang too: that card's calls only)
 *     name NVIDIA GeForce RTX 4090
 *     memory 25757220864                 bytes in all
 *     used 524288000                     bytes
 *     utilisation 37                     per cent
 *     temperature 41                     degrees Celsius
 *     power 85500                        milliwatts
 *     numa 0                             the nearest NUMA node
 *     bus 00000000:01:00.0               PCI address
 *     link 00000000:02:00.0              an active NVLink to the device at that address, a card or a switch; may be repeated
 *     mig on                             MIG mode is enabled; "off": the card could, and does not
 *     process 4711 1073741824            a host pid and its bytes on the card, or "unknown"; may be repeated
 *     graphics 812 41943040              the same for a graphics context, an X server's for example
 *     mps 813 41943040                   the same for a client of the Multi-Process Service
 *     samples                            the card can say how much each process uses it
 *     busy 4711 63                       that pid uses 63 per cent of it, again at each call; with a third number, microseconds since the epoch:
 *                                        it did so at that moment; may be repeated
 *     accounting on                      accounting mode is enabled; "off": the card could, and does not
 *     account 4711 40 1700000000000000   what accounting has of a pid: per cent of its life, and when that began (microseconds); may be repeated
 *     instance MIG-... 1 9728            begins a MIG instance of the card: its uuid, compute slices, MiB. "process" lines after it are its own
 *
 * A value that is not given is one that the card cannot tell: NVML_ERROR_NOT_SUPPORTED.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9 };
enum { MAX_CARDS = 16, MAX_INSTANCES = 8, MAX_LINES = 32, TEXT = 96, NAP_NANOSECONDS = 5000000 };
#define UNKNOWN (-1LL)
#define API __attribute__((visibility("default")))

typedef struct { char function[TEXT]; int code; int hangs; } Fault;
typedef enum { COMPUTE, GRAPHICS, MPS } Context;
typedef struct { unsigned pid; unsigned long long bytes; Context context; } Process;
typedef struct { unsigned pid, percent; unsigned long long moment; } Use;
typedef struct { char uuid[TEXT]; unsigned slices; unsigned long long mib; int process_count; Process processes[MAX_LINES]; } Instance;

typedef struct {
    char uuid[TEXT], name[TEXT], bus[32], links[MAX_LINES][32];
    long long memory, used, utilisation, temperature, power, numa, mig, accounting;
    int link_count, process_count, instance_count, fault_count, tells_samples, busy_count, account_count;
    Use busy[MAX_LINES], accounts[MAX_LINES];
    Process processes[MAX_LINES];
    Instance instances[MAX_INSTANCES];
    Fault faults[MAX_LINES];
} Card;

typedef struct { char driver[TEXT]; int card_count, fault_count; Fault faults[MAX_LINES]; Card cards[MAX_CARDS]; } Box;

/* What nvidia-ml-py hands over. */
typedef void *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilisation;
typedef struct { unsigned pid; unsigned long long moment; unsigned sm, memory, encoder, decoder; } UseSample;
typedef struct { unsigned gpu, memory; unsigned long long most_bytes, time, start; unsigned running, reserved[5]; } Accounts;
typedef struct { char legacy[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; } Pci;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } ProcessInfo;
typedef struct { unsigned processors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices; unsigned long long mib; } Attributes;

static Box box;

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static void begin_card(const char *uuid) {
    if (box.card_count == MAX_CARDS) return;
    Card *card = &box.cards[box.card_count++];
    card->memory = card->used = card->utilisation = card->temperature = card->power = card->numa = card->mig = card->accounting = UNKNOWN;
    copy(card->uuid, TEXT, uuid);
    snprintf(card->bus, sizeof card->bus, "00000000:%02X:00.0", (unsigned)box.card_count);
}

static void begin_instance(Card *card, const char *value) {
    if (card->instance_count == MAX_INSTANCES) return;
    Instance *instance = &card->instances[card->instance_count++];
    sscanf(value, "%95s %u %llu", instance->uuid, &instance->slices, &instance->mib);
}

static void add_process(Card *card, const char *value, Context context) {
    Instance *instance = card->instance_count ? &card->instances[card->instance_count - 1] : NULL;
    int *count = instance ? &instance->process_count : &card->process_count;
    Process *list = instance ? instance->processes : card->processes;
    if (*count == MAX_LINES) return;
    Process *process = &list[(*count)++];
    process->context = context;
    process->bytes = ~0ULL; /* NVML's own way to say "not available" */
    sscanf(value, "%u %llu", &process->pid, &process->bytes);
}

static void add_use(Use *list, int *count, const char *value) {
    if (*count == MAX_LINES) return;
    Use *use = &list[(*count)++];
    sscanf(value, "%u %u %llu", &use->pid, &use->percent, &use->moment);
}

static void add_fault(Card *card, const char *value, int hangs) {
    int *count = card ? &card->fault_count : &box.fault_count;
    Fault *list = card ? card->faults : box.faults;
    if (*count == MAX_LINES) return;
    Fault *fault = &list[(*count)++];
    fault->hangs = hangs;
    sscanf(value, "%95s %d", fault->function, &fault->code);
}

static void card_line(Card *card, const char *word, const char *value) {
    struct { const char *word; long long *number; } numbers[] = {
        {"memory", &card->memory}, {"used", &card->used}, {"utilisation", &card->utilisation},
        {"temperature", &card->temperature}, {"power", &card->power}, {"numa", &card->numa},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(word, numbers[i].word)) *numbers[i].number = atoll(value);
    if (!strcmp(word, "name")) copy(card->name, TEXT, value);
    if (!strcmp(word, "bus")) copy(card->bus, sizeof card->bus, value);
    if (!strcmp(word, "mig")) card->mig = !strcmp(value, "on");
    if (!strcmp(word, "accounting")) card->accounting = !strcmp(value, "on");
    if (!strcmp(word, "samples")) card->tells_samples = 1;
    if (!strcmp(word, "busy")) add_use(card->busy, &card->busy_count, value);
    if (!strcmp(word, "account")) add_use(card->accounts, &card->account_count, value);
    if (!strcmp(word, "link") && card->link_count < MAX_LINES) copy(card->links[card->link_count++], sizeof card->links[0], value);
    if (!strcmp(word, "instance")) begin_instance(card, value);
    if (!strcmp(word, "process")) add_process(card, value, COMPUTE);
    if (!strcmp(word, "graphics")) add_process(card, value, GRAPHICS);
    if (!strcmp(word, "mps")) add_process(card, value, MPS);
}

static void take_line(char *line) {
    char *word = line + strspn(line, " \t"), *value = word + strcspn(word, " \t\n");
    if (!*word || *word == '#' || *word == '\n') return;
    if (*value) *value++ = '\0';
    value += strspn(value, " \t");
    value[strcspn(value, "\r\n")] = '\0';
    Card *card = box.card_count ? &box.cards[box.card_count - 1] : NULL;
    if (!strcmp(word, "driver")) copy(box.driver, TEXT, value);
    else if (!strcmp(word, "card")) begin_card(value);
    else if (!strcmp(word, "error")) add_fault(card, value, 0);
    else if (!strcmp(word, "hang")) add_fault(card, value, 1);
    else if (card) card_line(card, word, value);
}

static int read_box(void) {
    const char *path = getenv("NBD_SIMULATED_GPUS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return DRIVER_NOT_LOADED;
    memset(&box, 0, sizeof box);
    char line[512];
    while (fgets(line, sizeof line, file)) take_line(line);
    fclose(file);
    return SUCCESS;
}

static const Fault *fault_in(const Fault *faults, int count, const char *function) {
    for (int i = 0; i < count; i++)
        if (!strcmp(faults[i].function, function) || !strcmp(faults[i].function, "*")) return &faults[i];
    return NULL;
}

/* A handle is 1 + the card's index, plus 1000 for each MIG instance of it counted from 1. */
static int card_index(Device device) { return (int)((long)device % 1000) - 1; }
static Card *card_of(Device device) { return &box.cards[card_index(device)]; }
static Instance *instance_of(Device device) {
    long number = (long)device / 1000;
    return number ? &card_of(device)->instances[number - 1] : NULL;
}

/* Every entry point begins here: read the file, then hang, fail or go on as it says. */
static int enter(const char *function, Device device) {
    struct timespec nap = {0, NAP_NANOSECONDS};
    for (;;) {
        int code = read_box();
        if (code) return code;
        const Fault *fault = fault_in(box.faults, box.fault_count, function);
        if (!fault && device) {
            if (card_index(device) < 0 || card_index(device) >= box.card_count) return INVALID_ARGUMENT;
            if ((long)device / 1000 > card_of(device)->instance_count) return INVALID_ARGUMENT;
            fault = fault_in(card_of(device)->faults, card_of(device)->fault_count, function);
        }
        if (!fault) return SUCCESS;
        if (!fault->hangs) return fault->code;
        nanosleep(&nap, NULL);
    }
}

#define ENTER(device) do { int code = enter(__func__, (device)); if (code) return code; } while (0)
/* Utilisation, temperature and power are the whole card's: an instance cannot tell them. */
#define TELL(device, field, to) do { long long value = card_of(device)->field; if (value == UNKNOWN || instance_of(device)) return NOT_SUPPORTED; *(to) = (unsigned)value; return SUCCESS; } while (0)

API int nvmlInitWithFlags(unsigned flags) { (void)flags; ENTER(NULL); return SUCCESS; }
API int nvmlShutdown(void) { return SUCCESS; }
API const char *nvmlErrorString(int code) { (void)code; return "simulated error"; }

API int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    ENTER(NULL);
    copy(version, size, box.driver);
    return *box.driver ? SUCCESS : NOT_SUPPORTED;
}

API int nvmlDeviceGetCount_v2(unsigned *count) { ENTER(NULL); *count = (unsigned)box.card_count; return SUCCESS; }

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    ENTER((Device)(long)(index + 1));
    *device = (Device)(long)(index + 1);
    return SUCCESS;
}

API int nvmlDeviceGetUUID(Device device, char *uuid, unsigned size) {
    ENTER(device);
    copy(uuid, size, instance_of(device) ? instance_of(device)->uuid : card_of(device)->uuid);
    return SUCCESS;
}

API int nvmlDeviceGetName(Device device, char *name, unsigned size) {
    ENTER(device);
    copy(name, size, card_of(device)->name);
    return *card_of(device)->name ? SUCCESS : NOT_SUPPORTED;
}

API int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    ENTER(device);
    Instance *instance = instance_of(device);
    long long total = instance ? (long long)(instance->mib << 20) : card_of(device)->memory, used = instance ? 0 : card_of(device)->used;
    for (int i = 0; instance && i < instance->process_count; i++)
        if (instance->processes[i].bytes != ~0ULL) used += (long long)instance->processes[i].bytes;
    if (total == UNKNOWN || used == UNKNOWN) return NOT_SUPPORTED;
    *memory = (Memory){(unsigned long long)total, (unsigned long long)(total - used), (unsigned long long)used};
    return SUCCESS;
}

API int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
    ENTER(device);
    memset(pci, 0, sizeof *pci);
    copy(pci->bus_id, sizeof pci->bus_id, card_of(device)->bus);
    return SUCCESS;
}

API int nvmlDeviceGetMemoryAffinity(Device device, unsigned size, unsigned long *nodes, unsigned scope) {
    (void)scope;
    ENTER(device);
    long long node = card_of(device)->numa;
    if (node < 0 || node >= 64 || size == 0) return NOT_SUPPORTED;
    memset(nodes, 0, size * sizeof *nodes);
    nodes[0] = 1UL << node;
    return SUCCESS;
}

API int nvmlDeviceGetNvLinkState(Device device, unsigned link, unsigned *active) {
    ENTER(device);
    if (!card_of(device)->link_count) return NOT_SUPPORTED;
    if (link >= (unsigned)card_of(device)->link_count) return INVALID_ARGUMENT;
    *active = 1;
    return SUCCESS;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(Device device, unsigned link, Pci *pci) {
    ENTER(device);
    if (link >= (unsigned)card_of(device)->link_count) return INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    copy(pci->bus_id, sizeof pci->bus_id, card_of(device)->links[link]);
    return SUCCESS;
}

API int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    ENTER(device);
    if (card_of(device)->mig == UNKNOWN) return NOT_SUPPORTED;
    *current = *pending = (unsigned)card_of(device)->mig;
    return SUCCESS;
}

API int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *count) { ENTER(device); *count = MAX_INSTANCES - 1; return SUCCESS; }

API int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *instance) {
    ENTER(device);
    if (index >= (unsigned)card_of(device)->instance_count) return NOT_FOUND;
    *instance = (Device)((long)device + 1000L * (long)(index + 1));
    return SUCCESS;
}

API int nvmlDeviceGetAttributes_v2(Device device, Attributes *attributes) {
    ENTER(device);
    Instance *instance = instance_of(device);
    if (!instance) return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = attributes->compute_slices = instance->slices;
    attributes->mib = instance->mib;
    return SUCCESS;
}

static int list_processes(Device device, Context context, unsigned *count, ProcessInfo *out) {
    Instance *instance = instance_of(device);
    const Process *list = instance ? instance->processes : card_of(device)->processes;
    int total = instance ? instance->process_count : card_of(device)->process_count;
    unsigned room = *count, found = 0;
    for (int i = 0; i < total; i++) {
        if (list[i].context != context) continue;
        if (found < room) out[found] = (ProcessInfo){list[i].pid, list[i].bytes, 0, 0};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *out) {
    ENTER(device);
    return list_processes(device, COMPUTE, count, out);
}

API int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *out) {
    ENTER(device);
    return list_processes(device, GRAPHICS, count, out);
}

API int nvmlDeviceGetMPSComputeRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *out) {
    ENTER(device);
    return list_processes(device, MPS, count, out);
}

API int nvmlDeviceGetUtilizationRates(Device device, Utilisation *rates) { ENTER(device); TELL(device, utilisation, &rates->gpu); }
API int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *celsius) { (void)sensor; ENTER(device); TELL(device, temperature, celsius); }
API int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) { ENTER(device); TELL(device, power, milliwatts); }

/* As the real one: asked without room it says how much is needed; only what is newer than `since` counts; nothing newer is NOT_FOUND. */
API int nvmlDeviceGetProcessUtilization(Device device, UseSample *out, unsigned *count, unsigned long long since) {
    ENTER(device);
    const Card *card = card_of(device);
    if (instance_of(device) || card->mig == 1 || !card->tells_samples) return NOT_SUPPORTED;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned room = out ? *count : 0, found = 0;
    for (int i = 0; i < card->busy_count; i++) {
        const Use *use = &card->busy[i];
        unsigned long long moment = use->moment ? use->moment : (unsigned long long)now.tv_sec * 1000000ULL + (unsigned long long)now.tv_nsec / 1000;
        if (moment <= since) continue;
        if (found < room) out[found] = (UseSample){use->pid, moment, use->percent, 0, 0, 0};
        found++;
    }
    *count = found;
    return !found ? NOT_FOUND : found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API int nvmlDeviceGetAccountingMode(Device device, unsigned *mode) { ENTER(device); TELL(device, accounting, mode); }

API int nvmlDeviceGetAccountingStats(Device device, unsigned pid, Accounts *stats) {
    ENTER(device);
    memset(stats, 0, sizeof *stats);
    for (int i = 0; i < card_of(device)->account_count; i++) {
        const Use *use = &card_of(device)->accounts[i];
        if (use->pid != pid) continue;
        *stats = (Accounts){.gpu = use->percent, .start = use->moment, .running = 1};
        return SUCCESS;
    }
    return NOT_FOUND;
}
