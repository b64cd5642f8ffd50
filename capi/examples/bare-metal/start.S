// The boot code that a C firmware brings itself: QEMU's machine `virt`, from EL1 to C on a
// stack per core, with NEON, MMU and caches on.

    .equ    STACK_BYTES, 0x8000

    .section .text.start, "ax"
    .global _start
_start:
    mov     x19, #0                         // the core, which the others get from CPU_ON
    b       0f
    .global secondary_start
secondary_start:
    mov     x19, x0
0:  msr     daifset, #0xf
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    mov     x0, #(3 << 20)                  // NEON
    msr     cpacr_el1, x0
    isb

    adrp    x0, stacks
    add     x0, x0, :lo12:stacks
    mov     x1, #STACK_BYTES
    madd    x0, x19, x1, x0
    add     x0, x0, x1
    mov     sp, x0

    // Every address stands for itself: the first GiB are devices, the second is memory.
    mov     x0, #0xff04                     // attribute 0: device; 1: cached memory
    msr     mair_el1, x0
    ldr     x0, =(25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32)
    msr     tcr_el1, x0
    adrp    x0, table
    add     x0, x0, :lo12:table
    msr     ttbr0_el1, x0
    tlbi    vmalle1
    dsb     ish
    isb
    ldr     x0, =(0x30d00800 | 1 | 1 << 2 | 1 << 12)
    msr     sctlr_el1, x0
    isb

    cbnz    x19, 2f
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
1:  cmp     x0, x1
    b.hs    2f
    str     xzr, [x0], #8
    b       1b
2:  mov     x0, x19
    bl      core_main
3:  wfi
    b       3b

    // Any exception ends the program.
    .balign 0x800
vectors:
    .rept   16
    .balign 0x80
    b       failed
    .endr
failed:
    mov     x0, #17
    b       finish

    .section .rodata.table, "a"
    .balign 4096
table:
    .quad   0x00000000 | 1 << 10 | 1                        // used, device
    .quad   0x40000000 | 1 << 10 | 3 << 8 | 1 << 2 | 1      // used, shared, memory
    .zero   4096 - 16

    .section .noinit, "aw", %nobits
    .balign 16
stacks:
    .zero   8 * STACK_BYTES
