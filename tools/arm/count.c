/* A plugin of QEMU 7.2 for emulated programs: counts their instructions from one mark to the next. A mark is the system
   call getpgid(MARK + k), which fails and does nothing else. Declared here are the few names of qemu-plugin.h that it
   needs, since Debian has no package with that file. Built by count.sh. */
#include <stdint.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 424242
#define GETPGID 155 /* on aarch64 */

typedef uint64_t plugin_id;
struct block;
enum operation { ADD };

size_t qemu_plugin_tb_n_insns(const struct block *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, enum operation, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                             uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

EXPORT int qemu_plugin_version = 1;

static uint64_t count, before;

static void on_block(plugin_id id, struct block *block)
{
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &count, qemu_plugin_tb_n_insns(block));
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f, uint64_t g, uint64_t h)
{
    if (number == GETPGID && a >= MARK && a < MARK + 100) {
        fprintf(stderr, "mark %d: %llu instructions\n", (int)(a - MARK), (unsigned long long)(count - before));
        before = count;
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
