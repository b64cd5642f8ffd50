// memcpy, memmove and memset in steps of 64 bytes. Those of `compiler_builtins` are compiled for
// machines without unaligned accesses; with the MMU on there are some here.

.section .text.asm, "ax"
.global memcpy
.type memcpy, %function
memcpy:
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     q0, q1, [x1]
    ldp     q2, q3, [x1, #32]
    add     x1, x1, #64
    stp     q0, q1, [x3]
    stp     q2, q3, [x3, #32]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f                      // the low bits of what is left
    ldp     q0, q1, [x1], #32
    stp     q0, q1, [x3], #32
3:  tbz     x2, #4, 4f
    ldr     q0, [x1], #16
    str     q0, [x3], #16
4:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:  tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1]
    strb    w4, [x3]
8:  ret

.global memmove
.type memmove, %function
memmove:
    sub     x3, x0, x1
    cmp     x3, x2
    b.hs    memcpy                          // the target does not begin inside the source
    add     x1, x1, x2                      // from the end then
    add     x3, x0, x2
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     q0, q1, [x1, #-32]
    ldp     q2, q3, [x1, #-64]!
    stp     q0, q1, [x3, #-32]
    stp     q2, q3, [x3, #-64]!
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldp     q0, q1, [x1, #-32]!
    stp     q0, q1, [x3, #-32]!
3:  tbz     x2, #4, 4f
    ldr     q0, [x1, #-16]!
    str     q0, [x3, #-16]!
4:  tbz     x2, #3, 5f
    ldr     x4, [x1, #-8]!
    str     x4, [x3, #-8]!
5:  tbz     x2, #2, 6f
    ldr     w4, [x1, #-4]!
    str     w4, [x3, #-4]!
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1, #-2]!
    strh    w4, [x3, #-2]!
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1, #-1]
    strb    w4, [x3, #-1]
8:  ret

.global memset
.type memset, %function
memset:
    mov     x3, x0
    dup     v0.16b, w1
    subs    x2, x2, #64
    b.lo    2f
1:  stp     q0, q0, [x3]
    stp     q0, q0, [x3, #32]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    stp     q0, q0, [x3], #32
3:  tbz     x2, #4, 4f
    str     q0, [x3], #16
4:  tbz     x2, #3, 5f
    str     d0, [x3], #8
5:  tbz     x2, #2, 6f
    str     s0, [x3], #4
6:  tbz     x2, #1, 7f
    str     h0, [x3], #2
7:  tbz     x2, #0, 8f
    str     b0, [x3]
8:  ret
