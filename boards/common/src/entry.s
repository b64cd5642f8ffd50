// From reset to Rust: EL1 on SP_EL0, NEON, MMU and caches on, a stack per core.
//
// x19: exception level at reset    x20: core number    x21: 1 if another core started this one

.section .text.entry, "ax"
.global _start
_start:
    mov     x21, #0
    b       0f
.global pipeit_secondary
pipeit_secondary:
    mov     x21, #1

0:  msr     daifset, #0xf
    mrs     x19, CurrentEL
    lsr     x19, x19, #2
    cmp     x19, #2
    b.lo    el1
    b.eq    el2

    // EL3: everything below is non-secure AArch64, without a secure monitor to call.
    mov     x0, #0x5b1                      // RW, HCE, SMD, RES1, NS
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    mov     x0, #0x3c9                      // EL2h, all masked
    msr     spsr_el3, x0
    adr     x0, el2
    msr     elr_el3, x0
    eret

el2:
    mov     x0, #(1 << 31)                  // EL1 is AArch64; nothing is trapped
    msr     hcr_el2, x0
    mov     x0, #3                          // nor are timer and counter
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff                     // nor is NEON
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    mrs     x0, mdcr_el2                    // nor is the PMU, all of whose counters are EL1's
    and     x0, x0, #0x1f
    msr     mdcr_el2, x0
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    msr     vttbr_el2, xzr
    ldr     x0, ={SCTLR_OFF}
    msr     sctlr_el1, x0
    mov     x0, #0x3c4                      // EL1t, all masked
    msr     spsr_el2, x0
    adr     x0, el1
    msr     elr_el2, x0
    eret

el1:
    adrp    x0, pipeit_vectors
    add     x0, x0, :lo12:pipeit_vectors
    msr     vbar_el1, x0
    mov     x0, #(3 << 20)                  // NEON
    msr     cpacr_el1, x0
    isb

    // Which core is this? The board's table says.
    mrs     x0, mpidr_el1
    ldr     x1, =0xff00ffffff
    and     x0, x0, x1
    adrp    x1, PIPEIT_AFFINITIES
    add     x1, x1, :lo12:PIPEIT_AFFINITIES
    mov     x20, #0
1:  ldr     x2, [x1, x20, lsl #3]
    cmp     x0, x2
    b.eq    2f
    add     x20, x20, #1
    cmp     x20, #{MAX_CORES}
    b.lo    1b
    b       park                            // a core that the board does not declare
2:  msr     tpidr_el1, x20

    // SP_EL1 is for exceptions, so that one on a full stack has where to go.
    adrp    x0, {STACKS}
    add     x0, x0, :lo12:{STACKS}
    ldr     x1, ={STACK_BYTES}
    madd    x0, x20, x1, x0
    ldr     x2, ={EXCEPTION_STACK_END}
    add     x2, x0, x2
    msr     spsel, #1
    mov     sp, x2
    msr     spsel, #0
    add     x0, x0, x1
    mov     sp, x0

    cbnz    x21, secondary
    adrp    x0, PIPEIT_BOOT_CORE
    ldr     x0, [x0, :lo12:PIPEIT_BOOT_CORE]
    cmp     x20, x0
    b.ne    pen

    // Boot core. What was written with caches on before us must not show through later: drop
    // it from the caches. Then the page tables, which go past them to memory.
    adrp    x0, __scratch_start
    add     x0, x0, :lo12:__scratch_start
    adrp    x1, __scratch_end
    add     x1, x1, :lo12:__scratch_end
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2                      // bytes of the smallest cache line
3:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    3b
    dsb     sy
    bl      {build_tables}
    bl      mmu_on
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
    b       5f
4:  stp     xzr, xzr, [x0], #16
5:  cmp     x0, x1
    b.lo    4b
    mov     x0, x19
    bl      {primary}

    // All cores came in together: wait for the boot core, without caches.
pen:
    adrp    x0, {PEN}
    add     x0, x0, :lo12:{PEN}
6:  wfe
    ldr     x1, [x0, x20, lsl #3]
    cbz     x1, 6b

    // No memory is written before the MMU is on: another core may have fetched it ahead.
secondary:
    bl      mmu_on
    bl      {secondary}
park:
    wfi
    b       park

mmu_on:
    ldr     x0, ={MAIR}
    msr     mair_el1, x0
    ldr     x0, ={TCR}
    mrs     x1, id_aa64mmfr0_el1            // physical addresses as long as the core has, but
    and     x1, x1, #0xf                    // not longer than 48 bits
    mov     x2, #5
    cmp     x1, x2
    csel    x1, x1, x2, lo
    orr     x0, x0, x1, lsl #32
    msr     tcr_el1, x0
    adrp    x0, {TABLES}
    add     x0, x0, :lo12:{TABLES}
    msr     ttbr0_el1, x0
    dsb     ish
    tlbi    vmalle1
    ic      iallu
    dsb     ish
    isb
    ldr     x0, ={SCTLR_ON}
    msr     sctlr_el1, x0
    isb
    ret
